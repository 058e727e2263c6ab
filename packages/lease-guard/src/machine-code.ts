/**
 * The SIGBUS handlers, assembled from asm/sigbus-x64.S and asm/sigbus-arm64.S; a test assembles them again and compares.
 * The last eight bytes are for the address of the table.
 */
const CODE: Readonly<Record<string, string>> = {
  x64:
    'TItGEEyLDc0AAABJi0kYTY1RQEiFyXRiSYtCCEk5wHMFTTsCcwlJg8JASP/J6+RBUkmLchBIifdI999MIcdB9kI4AXQGSInGSCn+' +
    'SYtSGEG6MgAAAEnHwP////9FMcm4CQAAAA8FQVpIPQDw//93R0mJeijwSf9CIMNJi0EISIP4AXcxi04Ihcl/LEiD+AF0I+ghAAAA' +
    'uCcAAAAPBYnHuLoAAAAPBYnGugcAAAC46gAAAA8Fw//gMdJSUlJSSInmvwcAAABBuggAAAC4DQAAAA8FSIPEIMOQAAAAAAAAAAA=',
  arm64:
    'IwhA+aQIAFiFDED5hgABkQUEALTHIACR6PzfyH8ACOuCAABUyQBA+X8ACeuCAABUxgABkaUEANH2//8XwQhA+eoDActgAAqKyxxA' +
    '+UsAADYBAQDLwgxA+UMGgNIEAICSBQCA0sgbgNIBAADUHwRAscgDAFTAFAD5x4AAken8X8gpBQCR6fwKyKr//zXAA1/WiQRA+T8F' +
    'APFoAgBUKghAuV8BAHEsAgBUyQEAtewDHqoOAACU/gMMqogVgNIBAADU6wMAqkgWgNIBAADU4QMAquADC6riAIDSaBCA0gEAANTA' +
    'A1/WIAEf1v+DANH/fwCp/38BqeEDAJHgAIDSAgCA0gMBgNLIEIDSAQAA1P+DAJHAA1/WHyAD1QAAAAAAAAAA',
};

/** For an architecture as `process.arch` names it; undefined where nobody has written one. */
export function machineCode(architecture: string): Buffer | undefined {
  const code = CODE[architecture];
  return code === undefined ? undefined : Buffer.from(code, 'base64');
}
