/** A certificate for localhost, of the machine's openssl: for servers that take no other key. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { versionOf } from './program-server.js';

export interface Certificate {
  /** Paths of PEM files. */
  readonly key: string;
  readonly certificate: string;
}

/** Undefined: it is not installed. */
export const opensslVersion = (): string | undefined => versionOf(['openssl', 'version'], /OpenSSL ([\d.]+)/);

export const certificateIn = (directory: string): Certificate => ({
  key: join(directory, 'key.pem'),
  certificate: join(directory, 'certificate.pem'),
});

/** Makes one, self-signed, of an elliptic curve. */
export function makeCertificate(directory: string): Certificate {
  const made = certificateIn(directory);
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const files = ['-keyout', made.key, '-out', made.certificate];
  const { status, stderr } = spawnSync(
    'openssl',
    ['req', '-x509', ...curve, ...files, '-days', '30', '-subj', '/CN=localhost'],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`openssl made no certificate: ${stderr}`);
  return made;
}
