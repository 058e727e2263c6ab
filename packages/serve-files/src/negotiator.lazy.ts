/** Loaded when the first request has preferences. */
import Negotiator from 'negotiator';

export { Negotiator };
