/** Shared file systems: where the data of `efsVolumeConfiguration` lies, as an operator registered it. */

/** Key: `fs-` and 17 hex digits. */
export interface FileSystemRow {
  readonly fileSystemId: string
  readonly name?: string | undefined
  readonly target: FileSystemTarget
  /** What an operator says of the way to it; for what the target itself says, see `isEncryptedInTransit`. */
  readonly encryptedInTransit?: true | undefined
  /** Epoch milliseconds. */
  readonly createdAt: number
}

export type FileSystemTarget =
  | {
      readonly kind: 'nfs'
      readonly server: string
      readonly export: string
      /** Mount options, separated by commas; each takes the place of the default of its name. */
      readonly options?: string | undefined
    }
  | {
      readonly kind: 'cifs'
      readonly server: string
      readonly share: string
      readonly options?: string | undefined
      /** A file on each host with `username=`, `password=` and `domain=` lines. Its content never comes here. */
      readonly credentialsFile?: string | undefined
    }
  | {
      readonly kind: 'glusterfs'
      readonly servers: readonly string[]
      readonly volume: string
      /** The Docker volume plugin on the hosts. */
      readonly driver: string
    }
  | {
      readonly kind: 'volume'
      readonly driver: string
      /** Values may hold `{rootDirectory}`, `{uid}` and `{gid}`. */
      readonly driverOpts: Readonly<Record<string, string>>
      /** The Docker volume's name, for drivers to whom it means something. */
      readonly volumeName?: string | undefined
    }
  | {
      readonly kind: 'path'
      /** A directory on each host. */
      readonly path: string
      /** False where a plain directory is meant; else nothing is written unless a file system is mounted on it. */
      readonly mustBeMounted: boolean
    }

/** Key: `fsap-` and 17 hex digits. It is never changed: what a task may see and as whom stays what was registered. */
export interface AccessPointRow {
  readonly accessPointId: string
  readonly fileSystemId: string
  readonly name?: string | undefined
  /** The directory that tasks see as the root. */
  readonly path: string
  /** As whom tasks read and write. */
  readonly posixUser?: PosixUser | undefined
  /** With these the directory is made where it is missing; without them it has to be there. */
  readonly creationInfo?: CreationInfo | undefined
  readonly createdAt: number
}

export interface PosixUser {
  readonly uid: number
  readonly gid: number
  readonly secondaryGids?: readonly number[] | undefined
}

export interface CreationInfo {
  readonly ownerUid: number
  readonly ownerGid: number
  /** Octal: `0755`. */
  readonly permissions: string
}
