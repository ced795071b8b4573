internal import LoRA
internal import Reasoning

// Where an adapter begins, and begins again.

extension PersonalizationEngine {
    /// An adapter that starts from the prior, where that is possible, else a cold one; and the prior, where it was used.
    func newAdapter(_ user: String, _ start: Initialization?) -> (adapter: LoRAAdapter, prior: AdapterPrior?) {
        let identity = AdapterIdentity(seed: fixed.seed, user: user)
        guard let start, let warm = reasoning.warmStart(start, shape) else {
            return (LoRAAdapter(shape: shape, identity: identity), nil)
        }
        var adapter = LoRAAdapter(identity: identity, startingFrom: warm)
        if fixed.update.elasticWeightConsolidation != nil { adapter.anchorAtStart() }
        return (adapter, start.prior)
    }

    /// Makes a new adapter again from a start that knows the user's taste, and lets it learn again what it has learned. The
    /// version does not change by that.
    ///
    /// - Returns: Whether it was done: the start is another one than the adapter had, and nothing was refused.
    func restart(
        _ slot: inout Slot, _ memory: UserMemory, _ start: Initialization?, _ user: String, _ scratch: UpdateScratch
    ) -> Bool {
        defer {
            memory.isRestarted(reasoning.configuration)
        }
        guard let start, let early = memory.early, let old = slot.adapter, old.startedFrom != start.id.value,
            // More versions than steps: the protection was anchored meanwhile, and that would be lost.
            old.steps == UInt64(early.count), old.version == old.steps
        else { return false }
        var adapter = newAdapter(user, start).adapter
        guard adapter.startedFrom != nil else { return false }
        var last: (trace: StepTrace, report: UpdateReport)?
        do throws(LoRAError) {
            for batch in early {
                let trace = StepTrace()
                let report = try adapter.update(
                    with: batch.feedback, configuration: fixed.update, overrides: batch.overrides,
                    scratch: scratch, trace: trace)
                last = (trace, report)
            }
        } catch {
            // What the old start could learn, this one cannot: it stays.
            return false
        }
        adapter.version = old.version
        slot.adapter = adapter
        slot.isUnsaved = true
        // The step whose outcome is awaited is now the one that was made again.
        if let last, let pending = memory.pending {
            memory.pending?.trace = last.trace
            // A copy: should the update be refused after all, the old episode comes back as it was.
            memory.pending?.episode = pending.episode.madeAgain(
                from: start.id, lossBefore: last.report.lossBefore, lossAfter: last.report.lossAfter)
        }
        return true
    }
}
