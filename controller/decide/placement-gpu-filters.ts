/** The filters on GPUs: a host that has too few of them at all, and one whose tasks hold too many of them. */
import { registeredGpuIds, taskGpus } from './gpus.ts'
import { count, definePlacementFilter, type PlacementFilter, shareOf } from './placement-filter.ts'

/** An instance that has too few at all: none of its tasks has to end, it is the wrong host. */
const gpu = definePlacementFilter({
  name: 'gpu',
  reason: 'RESOURCE:GPU',
  isOfRow: true,
  take: ({ definition, overrides }) => taskGpus(definition, overrides) || undefined,
  judge: (want, { instance }) => want <= registeredGpuIds(instance).length,
  explain: (want, failed) => {
    const most = Math.max(...failed.map(({ instance }) => registeredGpuIds(instance).length))
    const numbers = `(want ${want}, most registered ${most})`
    return count(failed.length, `has too few GPUs ${numbers}`, `have too few GPUs ${numbers}`)
  },
  shortfall: (want, { instance }) => shareOf(want, registeredGpuIds(instance).length),
})

const gpuFree = definePlacementFilter({
  name: 'gpuFree',
  reason: 'RESOURCE:GPU',
  take: ({ definition, overrides }) => taskGpus(definition, overrides) || undefined,
  judge: (want, { resources }) => want <= resources.freeGpuIds.length,
  explain: (want, failed) => {
    const most = Math.max(...failed.map(({ resources }) => resources.freeGpuIds.length))
    const numbers = `(want ${want}, most free ${most})`
    return count(failed.length, `lacks GPUs ${numbers}`, `lack GPUs ${numbers}`)
  },
  shortfall: (want, { resources }) => shareOf(want, resources.freeGpuIds.length),
})

export const gpuFilters: readonly PlacementFilter[] = [gpu, gpuFree]
