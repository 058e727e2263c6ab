/**
 * What a network card does for TCP, turned off as `ethtool -K` does: a relay has to see the frames that a wire would carry,
 * of one segment each and with their checksums.
 */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import koffi from 'koffi';

const SIOCETHTOOL = 0x8946;
/** ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO (include/uapi/linux/ethtool.h). */
const COMMANDS = [0x17, 0x1f, 0x24, 0x2c];
const SOCK_DGRAM = 2;

export function disableOffloads(device: string): void {
  const fd = syscalls.socket(constants.AF_INET, SOCK_DGRAM, 0);
  for (const command of COMMANDS) {
    const value = Buffer.from(new Uint32Array([command, 0]).buffer); // struct ethtool_value
    const request = Buffer.alloc(40); // struct ifreq
    request.write(device, 'latin1');
    request.writeBigUInt64LE(BigInt(koffi.address(value)), 16);
    const result = syscalls.ioctl(fd, SIOCETHTOOL, request);
    if (result < 0) throw new SyscallError(result, 'ioctl');
  }
  syscalls.close(fd);
}
