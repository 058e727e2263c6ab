/** For its effect: import it before any package of the project. */
import { installFaults } from './injection.js';

installFaults();
//# sourceMappingURL=install.js.map
