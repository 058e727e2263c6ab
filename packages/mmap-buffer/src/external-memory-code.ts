/**
 * native/external-memory.c, compiled by native/compile.sh with gcc 12, and compressed. A test compiles it again and compares.
 */
const CODE: Readonly<Record<string, string>> = {
  x64:
    'H4sIAAAAAAACA71WT4gbVRh/k+wmsW5JKFWXQjVoVleLcbN2y1JRQttt57CH6mqLrDqZJC9/YDITJpPVPbkYelhCoGe99OBV8KTQU2RX' +
    'S/VSKkoRxLKgZLRIUSzSQuP73nxv82Z2Z+tB/A755ff7vu+977353sx7f2HxdERRiLAoeYWMGCF5xH5C1ubJGPvdTyZ47DgJt2sxPxIc' +
    'HX5jPr/iwwIWUVD8eZEH5N3GaIGi7Fd/dsox8u8thQjzTUj1kjXPNYH+H596/LW9xvlYGku2l0P0AyH6OyG6E6J3Q/RnQvSvQ3QlRP88' +
    'RL8bom/xtcVIDx/CceEw9WZdq1JHKxW1ulmxRsKKbrQp05xjRz2xZFPdoZpNK9SmZon6VPqeQ21TNzTdtvXVYrvCgryAMjXozjSrSU2t' +
    'pptlg2qtEmOjibcjvRJGjrZZppW6Scs4s24YWqVtlpy6ZaJkWC26y7A2rdZbrECtYZXbzLWS8xW/PQi5Eff6OL7d8Z7dlPSIpA8kPSrp' +
    'tyV9TNL/lnTfuU2MdPmcJCQ9Lp8PSZdeDWRS0h+S9LSk75P0aUl/eJe+Gc49GVXIcCrDfpNP5Nk/4DVwuTeHzKYOAYdB3GucHwAOW+T2' +
    'Od8HHLbG/ZTzCHDYEvcS53cjjMNWuBc5/wM4bIG7xvmvwKE8t8n5FnBYslvg/AfgsFT3LOfXgcMS3TyjSwu5qwu5vrp+T+3cyqu9xcy0' +
    'ur6lXhnLQEmDT1jIhX7ywgeMqF2HOXuvZybV9Z8GL3JP2wB1BtQ0qIc99Ryo8zBa6jIsHVwnPNdLi91TmZTa9RIWWUgCgifV3v4pmPGb' +
    '+zwsrrKwxG9J8KUg/Vumszo7m/nljTfU9e+WvJJZQU4mMfjSyzoPhbDw3yHjC087AhG85IInHILJU3xSb/G5q+C9zryYWYW/zJ8A8iGQ' +
    'zub08tsbS3yn/mSlwnyX4SGpvbk0QOdWiq9l8JE3ybjafYvldzZZNTeWN1bq9F3eL3/dH1q83/DwiB5fw0MjeltFv+jFJHLRg5Pb30P8' +
    '/sVH3x/puJCDyMXZeAzxYpT8Lya+e0H7DA/9V4jfI/6CeAcxhhv0KOLTiMcQTyOeQzxz8uTx9PQpWqzrZjo3m53NzjyfO3qkTIu52Xbu' +
    'WZQIybZqLcd29CLJVs12tqa3aiRbXjVbqw0PHZtkbWro2abhkKzDXt+MW2Xd0UmW1rSKrTcoj9Qb9RIbxHK8yJLVaFDT+a/2D573neHQ' +
    'Es9V9I3AjHQPIIF3HdgjOEYk0FcC55VRHylSvuivw+iLBPpUYFLZ+T2WbQrf7ycCfSdQ9GkEez04/3Py3YbZpTE/9kPuRQJfCOQXxv1Y' +
    'fUD9c6jNIr8S8+M42T1fke5RirR/O++bfgs+vzNYe5QE75P+e2Q0kC/WfxbnD74n+vhCaIbML/BNzJ8JxM0kRve1vdavBL77ws5jfpHs' +
    'vf//AKXKFhgADAAA',
  arm64:
    'H4sIAAAAAAACA71WcWgbZRR/l0uarC1tddNWOte4VjYVs7asUnRCus6touDsEATF6yX50kSSS7lc6roMDRX8Q0EaKypCy3ADTf9SUFdE' +
    'sTiRIgpS5/CfSZs6EP8aRMUI6fnu7vua76691T/UD+7e/X7vve+9777v3b0XHnr0uEcQgA0RLkIdAYSpXN7Fc4Pgw3srtJi2PnAfy367' +
    'BDq7cW+w6QWbTNAkEoLdz7OD33VqzWSAypPXtJgXZQ/12yLBLr1UPo5+DfDPRxuVRp7N3DqhYKmaqf5q977RG81zgZuLHw+68De78M+4' +
    '8JoL/4oLf8CF/9qFF1z4iy78Xy582VxbA1ymmzDCFIo8kZTGiSZFI1JSiWfqxKScyhHktPsOW2RUJbJGJJXEiUqUKLGx5LRGVEVOSbKq' +
    'ylORXByNLIMYSZGtbpkJokgJWYmliJSNIqoH3rS0UqgrckqMxJMKidHIciolxXNKVEtmFEqlMlmyzbQqGU9mMUEpnYnlUDXZZ0t+cxL4' +
    'MUDrwwu2+l3leA/H/8LxIsdf53gvx//J8bZ631Xn+ToJcLyfrw+OD3B8B8dznxoIcnwjxx/k+CY+//znpRmAmZuePVZtO9pdDHq6rnQF' +
    'xR/YZeoU1EUsnYlVxNMcnkT8DofPIP6Cw88jLnN4GrGnp45fQryfwy8buXD4VSM+h18z4nP4DSO+hWv5T0oRKKz48KqJUFzvFopefK40' +
    'QbUiwkJ5N1TLL0LxV11/EzdsYO1AuFpeh+KquHvhW+TGROTuQU4UTG4ZuSUPcofC1fVLlt1+KIyuGP7I/+wfLuF5mCl3h6vXzkMxevI2' +
    '0+Zj1J8DGFhtD1crTeFqLf/Ve0uidGWtM1xlevzIrVR1vb2W/7Rk5LqG/pVTQsnI8zfRs/ABjV3GuGvingXD730jRwHzoTm/hXgV45Qx' +
    'DwMb6zbWK+L1EeqY39vGc7sV+118rpwaKtXyX5o51fKfmWvw0ndmrqNwa3F6870JC3h6Zu6Y2Fu8gL74jxuo0LmstV0y55lMkufMb1mn' +
    '+EAQrDo5u6Hrgyh7dV1/GiXmrxe4b5dwZhS8p/cJnc1dYPh04HUEfT40lEMtY3PN803HZxvHGn+6+n0LDDUZNkfw+mbDmgdtwnOBef/w' +
    'bMPrvqfQ6HKLOc+YceYx1ohl0zvXMO87Met92JwGx+8besaQT9LiZzW6SIue1WaB6lkttVLMaqhjsw+wxlKg/t8165ra76GY1XY7+9+L' +
    '8L8M9r93G995/xt5Ynj4/uDBYySSlJVgX3+oP9R7b9/hu+gjQCibyGqqJkcgNK7kQgk5m4BQbErJTqUtqakQUklKDk2kNAhp+PtBnInJ' +
    'mgwhkpDiqpzGH0FMrSPTT04nozhlRjNvlnM0k04TRftX3qex/3/oeobtMztHTPZwfQ3fV7FxC53D4zhnTA4K9XMlcP7svN1OdR7HuWWy' +
    'VdjaX/DjTtqzHXWcQybZuWV9mTP+3Xyvtt3+u/R5bBxy+J/z2eVZR8Jeh/8A9e+neK/fLn2w/foFri8UuPfn1t+6xX/E4T/it8uCw965' +
    '/0/QtYvg7Mvt/bjo8G/j+lSB0y/SDVsMbB8v4JBRhz/7bi1Rg4kd/FPUv9dh10ubka4d3j8fmx+PUf8c3Pj8/g2RWdHKiA0AAA==',
};

/** A shared object for an architecture as `process.arch` names it; undefined where there is none. */
export function externalMemoryCode(architecture: string): Buffer | undefined {
  const code = CODE[architecture];
  if (code === undefined) return undefined;
  return process.getBuiltinModule('node:zlib').gunzipSync(Buffer.from(code, 'base64'));
}
