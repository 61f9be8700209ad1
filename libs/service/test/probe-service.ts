import { integer, runService } from '../src/index';

/** A service for the tests of its life: says on standard output what is started and closed, in order. */
void runService(
  'probe',
  { ANSWER: integer() },
  async (config, life) => {
    const say = (text: string) => void process.stdout.write(`probe: ${text}\n`);
    const resource = (name: string) => life.own({ close: () => say(`closed ${name}`) });
    resource('database');
    resource('client');
    await life.role('api', () => ({ close: () => say('stopped api') }));
    await life.role('relay', () => ({ close: () => say('stopped relay') }));
    life.health({
      name: 'broker',
      severity: 'degraded',
      check: () => Promise.reject(new Error('no broker')),
    });
    say(`answer ${config.ANSWER}`);
  },
  {
    shout: async (config, context) =>
      void process.stdout.write(`${context.arguments.join(' ')} ${config.ANSWER}!\n`),
  },
);
