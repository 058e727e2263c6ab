/** For its effect: import it before any package of the project. */
import './hurried-timers.js';
import { installFaults } from './injection.js';

installFaults();
