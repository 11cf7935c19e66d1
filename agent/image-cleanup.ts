/**
 * Removes images that nothing on this host needs any more: some old ones every half hour, and on a disk that is nearly
 * full as many as it takes, at once. It stands between the turn and the engine, so that it knows what tasks ask for, and
 * so that no task begins with an image that is being removed at this instant.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { GantryDiskUse } from '../proto/acs.ts'
import { imagesToRemove } from './decide/image-cleanup.ts'
import type { ImageCleanupPolicy, ImageRemoval, ImageUse } from './decide/image-cleanup.ts'
import { EngineError } from './engine.ts'
import type { Engine, ListedImage } from './engine.ts'
import type { TurnLog } from './turn-options.ts'
import type { Timers } from './timers.ts'

/** How often the disk is looked at. */
const diskLookMs = 60_000
const firstLookMs = 2000
/** Below the mark by this much there is room again; else it would be made a little at a time, over and over. */
const reliefPercent = 5

export interface ImageCleanupOptions {
  readonly engine: Engine
  /** The directory in which it remembers what was used when. */
  readonly directory: string
  readonly rootDirectory: string
  readonly policy: ImageCleanupPolicy
  /** False where ECS_DISABLE_IMAGE_CLEANUP says so: then the disk is only watched. */
  readonly isEnabled: boolean
  readonly intervalMs: number
  /** GANTRY_DISK_PRESSURE_PERCENT: from there on a disk counts as nearly full. */
  readonly pressurePercent: number
  /** Names of images that tasks of this host have or wait for, right now. */
  readonly wantedNames: () => readonly string[]
  readonly onDiskUse: (use: GantryDiskUse) => void
  readonly now: () => number
  readonly timers: Timers
  readonly log: TurnLog
  /** How full the disk is; a test has disks of its own. */
  readonly readDisk?:
    | ((path: string) => Promise<{ readonly totalBytes: number; readonly freeBytes: number }>)
    | undefined
}

export interface ImageCleanup {
  /** The engine as the turn is to use it. */
  readonly engine: Engine
  /** Looks now; answers what was removed. */
  run(): Promise<readonly ImageRemoval[]>
  start(): void
  close(): void
}

export function createImageCleanup(options: ImageCleanupOptions): ImageCleanup {
  const cleaner = new Cleaner(options)
  return {
    engine: cleaner.engine(),
    run: async () => cleaner.look(true),
    start: () => cleaner.again(firstLookMs),
    close: () => cleaner.close(),
  }
}

class Cleaner {
  readonly #options: ImageCleanupOptions
  readonly #uses: Map<string, ImageUse>
  /** Of one image: a disk that is nearly full may take minutes until there is room again. */
  #removing: Promise<unknown> = Promise.resolve()
  #isUnsaved = false
  #cleanedAt: number
  #cancel: () => void = () => undefined
  #closed = false

  constructor(options: ImageCleanupOptions) {
    this.#options = options
    this.#uses = readUses(options.directory, options.log)
    this.#cleanedAt = options.now()
  }

  /** Each task begins by asking what its image is: that is its use, and it waits for a removal that is under way. */
  engine(): Engine {
    const { engine, now } = this.#options
    return {
      ...engine,
      inspectImage: async (image) => {
        await this.#removing
        const facts = await engine.inspectImage(image)
        if (facts === undefined) return undefined
        const since = this.#uses.get(facts.id)?.since ?? now()
        this.#uses.set(facts.id, { id: facts.id, since, lastUsedAt: now() })
        this.#isUnsaved = true
        return facts
      },
    }
  }

  again(delayMs: number): void {
    if (this.#closed) return
    this.#cancel = this.#options.timers.after(delayMs, () => {
      this.look(false)
        .catch((error: unknown) => this.#failed(error))
        .finally(() => this.again(diskLookMs))
    })
  }

  close(): void {
    this.#closed = true
    this.#cancel()
    this.#save()
  }

  async look(now: boolean): Promise<readonly ImageRemoval[]> {
    const { isEnabled, intervalMs, onDiskUse } = this.#options
    const { use, bytesNeeded } = await this.#disk()
    onDiskUse(use)
    this.#save()
    const isDue = now || Math.abs(this.#options.now() - this.#cleanedAt) >= intervalMs
    if (!isEnabled || (!isDue && bytesNeeded === 0)) return []
    this.#cleanedAt = this.#options.now()
    return this.#clean(bytesNeeded)
  }

  async #disk(): Promise<{ use: GantryDiskUse; bytesNeeded: number }> {
    const { rootDirectory: path, pressurePercent, readDisk = readFileSystem } = this.#options
    const { totalBytes, freeBytes } = await readDisk(path)
    const usedPercent = totalBytes === 0 ? 0 : Math.round((1 - freeBytes / totalBytes) * 1000) / 10
    const isPressed = usedPercent >= pressurePercent
    const freeWanted = (totalBytes * (100 - pressurePercent + reliefPercent)) / 100
    const use = { path, usedPercent, freeMiB: Math.floor(freeBytes / 1024 ** 2), isPressed }
    return { use, bytesNeeded: isPressed ? Math.max(1, Math.ceil(freeWanted - freeBytes)) : 0 }
  }

  async #clean(bytesNeeded: number): Promise<readonly ImageRemoval[]> {
    const { engine, policy, wantedNames, now, log } = this.#options
    const [listed, inUseIds] = await Promise.all([engine.listImages(), engine.imagesInUse()])
    this.#forget(new Set(listed.map(({ id }) => id)))
    const removable = (images: readonly ListedImage[]): readonly ImageRemoval[] =>
      imagesToRemove(
        { listed: images, inUseIds, wantedNames: wantedNames(), uses: this.#uses, bytesNeeded },
        policy,
        now(),
      )
    const removed: ImageRemoval[] = []
    for (const { id } of removable(listed)) {
      // A task may have come for it while others were removed.
      const [removal] = removable(listed.filter((image) => image.id === id))
      if (removal === undefined) continue
      const work = this.#remove(removal)
      this.#removing = work.catch(() => undefined)
      if (await work) removed.push(removal)
    }
    const bytes = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    if (bytesNeeded > bytes) {
      log.warn(
        { bytesNeeded, removed: removed.length, bytes },
        "The disk of Docker Engine is nearly full, and no image that may be removed is left. Make room: Docker's " +
          'volumes, containers of others and logs are not touched.',
      )
    }
    return removed
  }

  async #remove({ id, names, sizeBytes }: ImageRemoval): Promise<boolean> {
    const { engine, log } = this.#options
    try {
      for (const name of names) await engine.removeImage(name)
      this.#uses.delete(id)
      this.#isUnsaved = true
      log.info({ image: names[0], id, mebibytes: Math.round(sizeBytes / 1024 ** 2) }, 'image removed: unused')
      return true
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      // In use after all, or the engine is away: the next look decides anew.
      log.debug({ image: names[0], id, err: error }, 'image not removed')
      return false
    }
  }

  #forget(ids: ReadonlySet<string>): void {
    for (const id of this.#uses.keys()) {
      if (ids.has(id)) continue
      this.#uses.delete(id)
      this.#isUnsaved = true
    }
  }

  #save(): void {
    if (!this.#isUnsaved) return
    const { directory, log } = this.#options
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      const path = join(directory, fileName)
      writeFileSync(`${path}.new`, JSON.stringify({ images: [...this.#uses.values()] }), { mode: 0o600 })
      renameSync(`${path}.new`, path)
      this.#isUnsaved = false
    } catch (error) {
      // What is lost makes images look younger than they are, no more; a full disk is said elsewhere.
      log.debug({ err: error }, 'the use of images could not be written down')
    }
  }

  #failed(error: unknown): void {
    const { log } = this.#options
    if (error instanceof EngineError) log.debug({ err: error }, 'images could not be looked at')
    else log.warn({ err: error }, 'the clean-up of images failed; it is tried again')
  }
}

const fileName = 'images.json'

function readUses(directory: string, log: TurnLog): Map<string, ImageUse> {
  try {
    const { images } = JSON.parse(readFileSync(join(directory, fileName), 'utf8')) as { images: readonly ImageUse[] }
    return new Map(images.map((use) => [use.id, use]))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      log.warn({ err: error }, `${fileName} can't be read: images count as used from now on`)
    }
    return new Map()
  }
}

async function readFileSystem(path: string): Promise<{ readonly totalBytes: number; readonly freeBytes: number }> {
  // A container of its own may not see Docker's directory; the root is then on the same disk as a rule.
  const { blocks, bavail, bfree, bsize } = await statfs(path).catch(async () => statfs('/'))
  // As df counts: what is reserved for root is neither used nor free.
  return { totalBytes: (blocks - bfree + bavail) * bsize, freeBytes: bavail * bsize }
}
