/** The process beyond which the other ends of connections are: when it is killed, all of them vanish at once. */
import { answerBy } from '../asking.js';
import { openCrossing } from '../ways/wire.js';

const HOST = '127.0.0.1';

answerBy({ open: () => openCrossing(HOST, HOST) });
