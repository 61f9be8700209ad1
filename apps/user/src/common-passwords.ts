/** Passwords of 8 and more characters that lead every published list of leaked ones, in lower case. */
const LISTED = new Set(
  `
  password passw0rd p@ssw0rd p@ssword pa55word pa$$word pass1234 password! passwords mypassword passport
  iloveyou ilovegod iloveme1 iloveyou1 iloveyou2 loveyou1 lovelove lovers12 ihateyou
  sunshine princess football baseball basketball superman batman123 spiderman starwars startrek pokemon1 pikachu1
  trustno1 letmein1 letmein! letmein123 welcome1 welcome! welcome123 welcome2 master12 monkey12 monkey123 dragon12
  dragon123 shadow12 shadow123 michael1 jennifer jordan23 michelle charlie1 anthony1 nicholas jonathan victoria
  samantha elizabeth alexander christian veronica benjamin patricia stephanie danielle caroline valentina
  whatever whatever1 computer computer1 internet internet1 samsung1 samsung123 microsoft google123 facebook
  facebook1 linkedin dropbox1 twitter1 youtube1 minecraft minecraft1 playstation nintendo gameboy1 callofduty
  blink182 metallica slipknot liverpool liverpool1 chelsea1 arsenal1 arsenal123 barcelona realmadrid manchester
  mustang1 corvette ferrari1 porsche1 mercedes harley12 yamaha12 cowboys1 steelers yankees1 lakers24 eagles12
  butterfly chocolate chocolate1 cookies1 cupcake1 strawberry blueberry pineapple vanilla1 cinnamon peaches1
  snoopy12 garfield scooby12 tinkerbell hellokitty winnie12 precious angel123 babygirl babygirl1 babyboy1
  princess1 princesa teamo123 tequiero mariposa estrella corazon1 contrasena contraseña senha123 motdepasse
  passwort passwort1 hallo123 schatz12 geheim123 sommer12 azerty123 azertyuiop soleil12 doudou12 marseille
  changeme changeme1 changeme! changeit default1 testtest test1234 testing1 testing123 test12345 temp1234
  guest123 admin123 admin1234 admin12345 administrator adminadmin root1234 rootroot toor1234 user1234 secret12
  secret123 secrets1 qwerty12 qwerty123 qwerty1234 qwerty12345 qwertyui qwertyuiop qwertyuiop1 qwe12345 qweasdzxc
  1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qaz2wsx3edc 1qazxsw2 q1w2e3r4 q1w2e3r4t5 zaq12wsx zaq1zaq1 zaq1@wsx
  !qaz2wsx !qaz1qaz qazwsx12 qazwsx123 qazwsxedc asdf1234 asdfasdf asdfghjk asdfghjkl zxcvbnm1 zxcvbnm123 zxcvbnm,
  abcd1234 abc12345 abcdefgh abcdefg1 abcdef12 abcdefghi a1b2c3d4 a1234567 a12345678 a123456789 aa123456 aa12345678
  1a2b3c4d 123abc456 abc123456 abc123abc 12qwaszx 123qwe123 123qweasd qwe123qwe 1234qwer 123456qwerty qwer1234
  asd12345 zxc12345 q1234567 q12345678 123456aa 123456ab 123456abc 1234567a 12345678a 123456789a 123456789q
  p4ssw0rd freedom1 hello123 hello1234 helloworld hello12345 goodluck blessed1 blessing jesus123 jesuschrist
  money123 million1 business success1 winner12 killer12 killer123 hunter12 hunter123 ranger12 soldier1 warrior1
  tigger12 buster12 maggie12 ginger12 pepper12 cheese12 banana12 orange12 purple12 flower12 summer12 winter12
  spring12 autumn12 november december september october1 february saturday thursday wednesday swordfish mountain
  goldfish dolphins elephant kangaroo tiger123 panther1 phoenix1 thunder1 lightning midnight sunflower rainbow1
  diamond1 crystal1 platinum silver12 golden12 scorpion aquarius capricorn leonardo einstein newyork1 chicago1
  london12 paris123 england1 america1 australia california germany1 brazil12 iceman12 matrix12 rockstar
  p@ssw0rd1 p@ssw0rd123 p@$$w0rd pa$$w0rd passw0rd1 pass@123 pass@word1 admin@123 welcome@123 abcd@1234 abc@1234
  india@123 qwerty@123 test@123 root@123 user@123
  `
    .trim()
    .split(/\s+/),
);

/** Words that a year, a few digits or a mark behind them do not save. */
const WEAK_WORDS =
  /^(?:password|passw0rd|p@ssw0rd|p@ssword|pass|welcome|letmein|qwerty|qwertz|azerty|admin|administrator|iloveyou|monkey|dragon|football|baseball|sunshine|princess|superman|master|login|changeme|secret|summer|winter|spring|autumn|january|february|march|april|june|july|august|september|october|november|december|monday|friday|sunday)(?:\d{1,6}|\d{0,6}[!@#$.*]{1,2}|[!@#$.*]\d{1,4})$/;

const ROWS = ['01234567890123456789', 'abcdefghijklmnopqrstuvwxyz', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'];

/**
 * True for a password (of 8 and more characters) that guessing starts with: one of the list, a weak word with a number, a run
 * of the keyboard or the alphabet in either direction, or one short pattern repeated. Case does not matter.
 */
export function isCommonPassword(password: string): boolean {
  const lower = password.toLowerCase();
  const backwards = [...lower].reverse().join('');
  return (
    LISTED.has(lower) ||
    WEAK_WORDS.test(lower) ||
    ROWS.some((row) => row.includes(lower) || row.includes(backwards)) ||
    /^(.{1,4})\1+$/.test(lower) ||
    /^(?:19|20)\d{6}$/.test(lower) // a date of birth
  );
}
