import { startProgress } from './progress';

function show(isTTY: boolean) {
  let nowMs = 0;
  let written = '';
  const progress = startProgress(
    { isTTY, write: (text: string) => (written += text) },
    'checkouts',
    20,
    () => nowMs,
  );
  return {
    progress,
    written: () => written,
    pass: (ms: number) => void (nowMs += ms),
  };
}

it('draws one bar over and over on a terminal, at most ten times a second', () => {
  const { progress, written, pass } = show(true);
  for (let n = 0; n < 10; n += 1) {
    pass(50);
    progress.step();
  }
  progress.done('20 placed');
  expect(
    written()
      .split('\r')
      .slice(1)
      .map((text) => text.replace('\x1b[K', '')),
  ).toEqual([
    '  …  checkouts    ░░░░░░░░░░░░░░░░░░░░░░░░ 0/20 ',
    '  …  checkouts    █░░░░░░░░░░░░░░░░░░░░░░░ 1/20 ',
    '  …  checkouts    ████░░░░░░░░░░░░░░░░░░░░ 3/20 ',
    '  …  checkouts    ██████░░░░░░░░░░░░░░░░░░ 5/20 ',
    '  …  checkouts    ████████░░░░░░░░░░░░░░░░ 7/20 ',
    '  …  checkouts    ███████████░░░░░░░░░░░░░ 9/20 ',
    '  ✓  checkouts       0.5 s  20 placed\n',
  ]);
});

it('writes whole lines elsewhere, one per tenth and second at most', () => {
  const { progress, written, pass } = show(false);
  for (let n = 0; n < 20; n += 1) {
    pass(400);
    progress.step('fine');
  }
  progress.done('20 placed');
  expect(written()).not.toMatch(/[\r\x1b]/);
  expect(written().split('\n')).toEqual([
    '     checkouts       1.2 s  3/20 fine',
    '     checkouts       2.4 s  6/20 fine',
    '     checkouts       3.6 s  9/20 fine',
    '     checkouts       4.8 s  12/20 fine',
    '     checkouts       6.0 s  15/20 fine',
    '     checkouts       7.2 s  18/20 fine',
    '  ✓  checkouts       8.0 s  20 placed',
    '',
  ]);
});
