/**
 * Which images may go, and in which order: those that no container is made from, that no task waits for and that nobody
 * excluded, least recently used first. Without need only old ones go, a few at a time, as the official agent does it; on a
 * disk that is nearly full as many as it takes.
 *
 * Source: amazon-ecs-agent 1.105, engine/docker_image_manager; `reference/ecs-agent.md` sections 10 and 14.4 (that agent
 * does not look at the disk).
 */
import type { ListedImage } from '../engine.ts'

export interface ImageCleanupPolicy {
  /** ECS_IMAGE_MINIMUM_CLEANUP_AGE: since it came here, for images that tasks use. */
  readonly minimumAgeMs: number
  /** ECS_NUM_IMAGES_DELETE_PER_CYCLE. */
  readonly imagesPerCycle: number
  /** ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP: whether images that no task of this agent used may go as well. */
  readonly untracked: boolean
  /** NON_ECS_IMAGE_MINIMUM_CLEANUP_AGE, since such an image was made. */
  readonly untrackedMinimumAgeMs: number
  /** ECS_EXCLUDE_UNTRACKED_IMAGE, and what the agent itself needs: names that stay whatever happens. */
  readonly excludedNames: readonly string[]
}

/** What the agent remembers of an image that a task of its host used; of the image, since its name may move on. */
export interface ImageUse {
  readonly id: string
  /** Epoch milliseconds: when it was first met here, and when a task last asked for it. */
  readonly since: number
  readonly lastUsedAt: number
}

export interface ImagesOfHost {
  readonly listed: readonly ListedImage[]
  /** Ids of images that a container, anybody's and in any state, is made from. */
  readonly inUseIds: ReadonlySet<string>
  /** Names that tasks of this host have or wait for. */
  readonly wantedNames: readonly string[]
  /** By image id. */
  readonly uses: ReadonlyMap<string, ImageUse>
  /** Bytes to be freed at least, because the disk is nearly full; 0 where there is room. */
  readonly bytesNeeded: number
}

export interface ImageRemoval {
  readonly id: string
  /** Taken off one after the other; the image is gone with its last. */
  readonly names: readonly string[]
  readonly sizeBytes: number
}

/** An image that came within this time is not taken for room either: its task may be about to use it. */
const freshMs = 60_000

export function imagesToRemove(host: ImagesOfHost, policy: ImageCleanupPolicy, now: number): readonly ImageRemoval[] {
  const isPressed = host.bytesNeeded > 0
  const kept = new Set([...host.wantedNames, ...policy.excludedNames].map(fullName))
  const candidates = host.listed
    .filter((image) => !host.inUseIds.has(image.id) && !namesOf(image).some((name) => kept.has(fullName(name))))
    .map((image) => ({ image, use: host.uses.get(image.id) }))
    .filter(({ image, use }) => isOldEnough(image, use, policy, isPressed, now))
    .toSorted((a, b) => lastUse(a.image, a.use) - lastUse(b.image, b.use) || (a.image.id < b.image.id ? -1 : 1))
  const removals: ImageRemoval[] = []
  let bytesLeft = host.bytesNeeded
  for (const { image } of candidates) {
    if (isPressed ? bytesLeft <= 0 : removals.length >= policy.imagesPerCycle) break
    removals.push({ id: image.id, names: image.tags.length > 0 ? image.tags : [image.id], sizeBytes: image.sizeBytes })
    bytesLeft -= image.sizeBytes
  }
  return removals
}

function namesOf({ tags, digests }: ListedImage): readonly string[] {
  return [...tags, ...digests]
}

/** `busybox:latest` for `docker.io/library/busybox`: Docker leaves out what its own hub and default tag are called. */
function fullName(name: string): string {
  const short = name.replace(/^(?:index\.)?docker\.io\//, '').replace(/^library\//, '')
  return short.includes('@') || /:[^/]*$/.test(short) ? short : `${short}:latest`
}

function isOldEnough(
  image: ListedImage,
  use: ImageUse | undefined,
  policy: ImageCleanupPolicy,
  isPressed: boolean,
  now: number,
): boolean {
  if (use === undefined) return policy.untracked && now - image.createdAt >= policy.untrackedMinimumAgeMs
  return isPressed ? isPast(use.lastUsedAt, freshMs, now) : isPast(use.since, policy.minimumAgeMs, now)
}

/** What lies far ahead was written down before the clock was set back, and is past as well. */
function isPast(at: number, byMs: number, now: number): boolean {
  return Math.abs(now - at) >= byMs
}

/** What nobody is known to have used goes first. */
function lastUse(image: ListedImage, use: ImageUse | undefined): number {
  return use?.lastUsedAt ?? Math.min(0, image.createdAt)
}
