export { invalidArgument, validateChoice } from '@zerocopy/transfer';
