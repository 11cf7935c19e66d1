/** What the agent asks of Docker Engine about images, and of registries through it. */
import { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { absent, drained } from './docker-call.ts'
import type { Call } from './docker-call.ts'
import { pullErrorOf } from './docker-errors.ts'
import type { EngineLimits } from './docker-limits.ts'
import { jsonLines } from './docker-streams.ts'
import { EngineError } from './engine.ts'
import type { Engine, ImageFacts, RegistryAuth } from './engine.ts'

type ImageCalls =
  | 'inspectImage'
  | 'listImages'
  | 'imagesInUse'
  | 'loadImage'
  | 'removeImage'
  | 'resolveDigest'
  | 'pullImage'

export function imageCalls(call: Call, limits: EngineLimits): Pick<Engine, ImageCalls> {
  return {
    async inspectImage(image): Promise<ImageFacts | undefined> {
      const inspected = await absent(
        call(`inspect image ${image}`, limits.inspectMs, (docker, abortSignal) =>
          docker.getImage(image).inspect({ abortSignal } as object),
        ),
      )
      return inspected === undefined ? undefined : { id: inspected.Id, repoDigests: inspected.RepoDigests ?? [] }
    },

    async listImages() {
      const listed = await call('list images', limits.listMs, (docker, abortSignal) =>
        docker.listImages({ abortSignal } as object),
      )
      return listed.map(({ Id, RepoTags, RepoDigests, Size, Created }) => ({
        id: Id,
        tags: namesIn(RepoTags),
        digests: namesIn(RepoDigests),
        sizeBytes: Size,
        createdAt: Created * 1000,
      }))
    },

    async imagesInUse() {
      const containers = await call('list containers', limits.listMs, (docker, abortSignal) =>
        docker.listContainers({ all: true, abortSignal }),
      )
      return new Set(containers.map(({ ImageID }) => ImageID))
    },

    async loadImage(name, tar) {
      const doing = `load image ${name}`
      await call(doing, limits.imageLoadMs, (docker, abortSignal) => loadThrough(docker, name, tar, abortSignal))
      await call(doing, limits.inspectMs, (docker, abortSignal) =>
        docker.getImage(name).inspect({ abortSignal } as object),
      )
    },

    async removeImage(nameOrId) {
      await absent(
        call(`remove image ${nameOrId}`, limits.imageRemoveMs, (docker, abortSignal) =>
          docker.getImage(nameOrId).remove({ abortSignal } as object),
        ),
      )
    },

    async resolveDigest(image, auth) {
      const found = (await call(
        `ask the registry of ${image}`,
        limits.digestMs,
        (docker, abortSignal) => docker.getImage(image).distribution({ ...withAuth(auth), abortSignal } as object),
        'registry',
      )) as { readonly Descriptor: { readonly digest: string } }
      return found.Descriptor.digest
    },

    async pullImage(image, auth, pull) {
      await call(
        `pull ${image}`,
        pull.timeoutMs,
        async (docker, abortSignal) => pullInTime(docker, image, auth, pull.inactivityMs, abortSignal),
        'registry',
      )
    },
  }
}

/** An engine that refuses what it reads says so in the midst of its answer, whose status is 200. */
async function loadThrough(docker: Docker, name: string, tar: Buffer, abortSignal: AbortSignal): Promise<void> {
  const stream = await docker.loadImage(Readable.from([tar]), { abortSignal } as object)
  let refusal: string | undefined
  const read = jsonLines((value) => {
    if (typeof value['error'] === 'string') refusal = value['error']
  })
  await drained(stream, read)
  if (refusal !== undefined) throw new EngineError('refused', `The engine did not load image ${name}: ${refusal}`)
}

/** Docker writes `<none>:<none>` where a name was taken over, and null where there never was one. */
function namesIn(names: readonly string[] | null | undefined): readonly string[] {
  return (names ?? []).filter((name) => !name.includes('<none>'))
}

function withAuth(auth: RegistryAuth | undefined): object {
  return auth === undefined ? {} : { authconfig: auth }
}

async function pullInTime(
  docker: Docker,
  image: string,
  auth: RegistryAuth | undefined,
  inactivityMs: number,
  outer: AbortSignal,
): Promise<void> {
  const quiet = new AbortController()
  const { promise: inactive, reject } = Promise.withResolvers<never>()
  const giveUp = (): void => {
    const seconds = inactivityMs / 1000
    reject(new EngineError('inactive', `inactivity time exceeded timeout while pulling image (${seconds} s)`))
    quiet.abort()
  }
  let timer = setTimeout(giveUp, inactivityMs)
  const sawProgress = (): void => {
    clearTimeout(timer)
    timer = setTimeout(giveUp, inactivityMs)
  }
  const abortSignal = AbortSignal.any([outer, quiet.signal])
  try {
    await Promise.race([pullThrough(docker, image, { ...withAuth(auth), abortSignal }, sawProgress), inactive])
  } finally {
    clearTimeout(timer)
  }
}

async function pullThrough(docker: Docker, image: string, options: object, sawProgress: () => void): Promise<void> {
  const stream = await docker.pull(image, options)
  let refusal: EngineError | undefined
  const read = jsonLines((value) => {
    if (typeof value['error'] === 'string') refusal = pullErrorOf(value['error'])
  })
  const problem = await drained(stream, (chunk) => {
    sawProgress()
    read(chunk)
  })
  if (refusal !== undefined) throw refusal
  const { complete } = stream as { readonly complete?: boolean }
  if (problem !== undefined || complete === false) {
    throw new EngineError('unreachable', `The Docker daemon went away while it was to pull ${image}.`)
  }
}
