/**
 * Images: how one gets onto this host, by ECS_IMAGE_PULL_BEHAVIOR, with the credentials of its registry. Pulls of one
 * image by several tasks are one pull.
 */
import type { PullBehavior } from './decide/view.ts'
import { EngineError } from './engine.ts'
import type { Engine, ImageFacts, RegistryAuth } from './engine.ts'
import { ensurePauseImage, isPauseImage } from './pause-image.ts'

export interface Images {
  /**
   * Makes the image ready, with a task's own login where it has one, else with what the agent has for the registry. Fails
   * with an EngineError: `notFound` and `denied` are definite.
   */
  obtain(image: string, login?: RegistryLogin): Promise<ObtainedImage>
}

export type RegistryLogin = Pick<RegistryAuth, 'username' | 'password'>

export interface ObtainedImage {
  /** `sha256:...`; undefined for an image that exists only here. */
  readonly digest: string | undefined
  /** False where the image was there and its registry was not asked for its content. */
  readonly pulled: boolean
}

export interface ImagesOptions {
  readonly engine: Engine
  readonly pullBehavior: PullBehavior
  readonly pullTimeoutMs: number
  readonly pullInactivityMs: number
  readonly registryAuth: (registryHost: string) => RegistryAuth | undefined
  /** Images that this agent pulled in an earlier life, for `once`. */
  readonly pulledBefore: Iterable<string>
}

export function createImages(options: ImagesOptions): Images {
  const underway = new Map<string, Promise<ObtainedImage>>()
  const pulledOnce = new Set(options.pulledBefore)
  return {
    obtain(image, login) {
      // Nobody rides on the login of another.
      if (login !== undefined) return obtain(withLogin(options, login), image, pulledOnce)
      const running = underway.get(image)
      if (running !== undefined) return running
      const obtaining = obtain(options, image, pulledOnce).finally(() => underway.delete(image))
      underway.set(image, obtaining)
      return obtaining
    },
  }
}

function withLogin(options: ImagesOptions, login: RegistryLogin): ImagesOptions {
  return { ...options, registryAuth: (serveraddress) => ({ ...login, serveraddress }) }
}

async function obtain(options: ImagesOptions, image: string, pulledOnce: Set<string>): Promise<ObtainedImage> {
  const { engine, pullBehavior } = options
  if (isPauseImage(image)) {
    await ensurePauseImage(engine)
    return { digest: undefined, pulled: false }
  }
  const cached = await engine.inspectImage(image)
  // What a digest names can't be another image elsewhere: its registry need not be asked, nor be there.
  const trusted =
    image.includes('@') || pullBehavior === 'prefer-cached' || (pullBehavior === 'once' && pulledOnce.has(image))
  if (cached !== undefined && trusted) return { digest: digestIn(cached, image), pulled: false }
  try {
    const pulled = await pullIfOther(options, image, cached)
    pulledOnce.add(image)
    const facts = pulled ? await engine.inspectImage(image) : cached
    return { digest: facts === undefined ? undefined : digestIn(facts, image), pulled }
  } catch (error) {
    // The default is to make do with what is here; whether that is old nobody can tell without the registry.
    const makeDo = cached !== undefined && pullBehavior === 'default' && !isEngineGone(error)
    if (makeDo) return { digest: digestIn(cached, image), pulled: false }
    throw error
  }
}

/** False where the registry holds the very image that is here already. */
async function pullIfOther(options: ImagesOptions, image: string, cached: ImageFacts | undefined): Promise<boolean> {
  const auth = options.registryAuth(registryHostOf(image))
  const digest = await options.engine.resolveDigest(image, auth).catch((error: unknown) => {
    // With an image at hand the registry's silence is answer enough; without one the pull itself has the last word,
    // since not every registry speaks of digests.
    const definite = error instanceof EngineError && (error.kind === 'notFound' || error.kind === 'denied')
    if (definite || cached !== undefined) throw error
    return undefined
  })
  if (digest !== undefined && cached?.repoDigests.some((known) => known.endsWith(`@${digest}`))) return false
  const limits = { timeoutMs: options.pullTimeoutMs, inactivityMs: options.pullInactivityMs }
  await options.engine.pullImage(image, auth, limits)
  return true
}

/** The host that an image's name begins with, or `docker.io` where it names none. */
export function registryHostOf(image: string): string {
  const [first = '', ...rest] = image.split('/')
  const named = rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost')
  return named ? first : 'docker.io'
}

/**
 * The digest under which the image's own repository knows it. None for an image that was built or imported here, and none
 * for a local name of another repository's image: no registry would find that digest under this name.
 */
function digestIn(facts: ImageFacts, image: string): string | undefined {
  const repository = familiarName(image)
  const own = facts.repoDigests.find((known) => familiarName(known) === repository)
  return own?.slice(own.indexOf('@') + 1)
}

/** `busybox` for `docker.io/library/busybox:1.36`: Docker knows its own hub's images by their short names. */
function familiarName(image: string): string {
  return image
    .replace(/@.*$/, '')
    .replace(/:[^/:]*$/, '')
    .replace(/^(?:index\.)?docker\.io\//, '')
    .replace(/^library\//, '')
}

function isEngineGone(error: unknown): boolean {
  return error instanceof EngineError && error.kind === 'unreachable'
}
