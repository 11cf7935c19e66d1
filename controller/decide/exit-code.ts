/** What a container's exit code usually means. 126, 127 and 128 + signal are the conventions of shells and of Docker. */
export interface ExitCodeMeaning {
  readonly meaning: string
  readonly advice?: string | undefined
}

const meanings: Readonly<Record<number, ExitCodeMeaning>> = {
  0: { meaning: 'it ended well' },
  125: {
    meaning: 'the engine could not run it',
    advice: "Look at the engine's log on the host: the container could not be run.",
  },
  126: {
    meaning: 'its command cannot be executed',
    advice: 'Check that the command is executable and built for the architecture of the host.',
  },
  127: {
    meaning: 'its command was not found',
    advice: 'Check the spelling of the command and entry point, and that the image holds the program.',
  },
  130: { meaning: 'interrupted, SIGINT' },
  134: { meaning: 'it aborted, SIGABRT', advice: 'The program gave up by itself: read the last lines of its output.' },
  137: {
    meaning: 'killed, SIGKILL: out of memory, or not ended within its stopTimeout',
    advice: 'If nobody stopped the task, raise the memory of the container; else end on SIGTERM or raise stopTimeout.',
  },
  139: {
    meaning: 'segmentation fault, SIGSEGV',
    advice: 'The program crashed: check that the image is built for this architecture, and its native libraries.',
  },
  143: { meaning: 'ended by SIGTERM, as when a task is stopped' },
  // Docker writes 255 for a container whose end it did not see, as after a power cut; programs use it for errors too.
  255: {
    meaning: 'the program reported an error, or the engine lost sight of it',
    advice: 'If the host or its engine went down at that time, start the task again; else read its last lines.',
  },
}

/**
 * Whether a container ended unstarted since one that it depends on can't be as it should. Agents report such a one with
 * exit code 143, the official agent too, though nothing ran that could have had a code.
 */
export function isNeverStarted({ startedAt, reason }: { startedAt?: number | undefined; reason?: string | undefined }) {
  return startedAt === undefined && reason?.startsWith('CannotStartContainerError: dependency graph') === true
}

/** What is known around an end, which tells apart the two ways to a SIGKILL. */
export interface EndedHow {
  readonly wasStopped?: boolean | undefined
  readonly outOfMemory?: boolean | undefined
  readonly neverStarted?: boolean | undefined
}

export function meaningOfExitCode(exitCode: number, how: EndedHow = {}): ExitCodeMeaning {
  if (how.neverStarted === true) return { meaning: 'it was never started' }
  if (exitCode === 137 && how.outOfMemory === true) {
    return {
      meaning: 'killed, SIGKILL: out of memory',
      advice: 'Raise the memory of the container, or make it use less.',
    }
  }
  if (exitCode === 137 && how.wasStopped === true) {
    return { meaning: 'killed, SIGKILL: not ended within its stopTimeout after SIGTERM' }
  }
  const known = meanings[exitCode]
  if (known !== undefined) return known
  if (exitCode > 128 && exitCode < 193) return { meaning: `ended by signal ${exitCode - 128}` }
  return { meaning: 'the program reported an error' }
}
