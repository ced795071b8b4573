internal import LoRA

// Updates of users who are in memory and for whom nobody waits: they are held while the journal has its time, and no line is made
// for them. Later comers find the user closed, and stand in line.

extension PersonalizationEngine {
    /// An update that was made and is on its way to the journal.
    private struct HeldUpdate {
        let key: UserKey
        let shard: Shard
        let report: UpdateReport
        let draft: JournalDraft
        /// Its place in the call.
        let index: Int
    }

    /// One update; `nil` where the user is not in memory or somebody is there.
    func updateAlone(
        _ key: UserKey, _ handle: UserHandle?, _ feedback: [Feedback], _ overrides: UpdateOverrides,
        _ origin: FeedbackOrigin
    ) async throws -> UpdateReport? {
        guard let hub = journalHub, let report = try hold(key, handle, feedback, overrides) else { return nil }
        let shard = shard(of: key)
        defer { shard.withLock { $0.leaveAlone(key) }?.leave() }
        let outcome: AppendOutcome
        do {
            outcome = try await commit(draft(report, overrides, feedback, origin), hub, key, shard, "updateAdapter")
        } catch {
            // An adapter that another engine has overtaken is let go of.
            _ = noteResidency(of: key, in: shard, hadAdapter: true)
            throw error
        }
        return try settled(report, outcome, key.user, shard)
    }

    /// Makes the step of an update and holds the user.
    private func hold(
        _ key: UserKey, _ handle: UserHandle?, _ feedback: [Feedback], _ overrides: UpdateOverrides
    ) throws(EngineError) -> UpdateReport? {
        if feedback.isEmpty { return nil }
        return try shard(of: key).withLock { state throws(EngineError) -> UpdateReport? in
            guard let place = handle.map({ state.place(of: $0) }) ?? state.place(of: key), state.holdAlone(place) else {
                return nil
            }
            do throws(EngineError) {
                return try update(place, key.user, feedback, overrides, &state, overtaking: true)
            } catch {
                state.withPlace(place) { $0.commit = nil }
                state.leaveAlone(key)?.leave()
                throw error
            }
        }
    }

    /// So many updates go to the journal together.
    private static let mostHeld = 256

    /// The updates of many users, with one trip to the journal for many of them; as one by one.
    func updateTogether(_ updates: [UserFeedback], _ hub: JournalHub) async -> [Result<UpdateReport, any Error>] {
        var results = [Result<UpdateReport, any Error>](repeating: .success(.nothing), count: updates.count)
        var held: [HeldUpdate] = []
        for (i, update) in updates.enumerated() {
            let key = UserKey(update.user)
            do {
                try Task.checkCancellation()
                do throws(EngineError) {
                    if let report = try hold(key, nil, update.feedback, UpdateOverrides()) {
                        held.append(
                            HeldUpdate(
                                key: key, shard: shard(of: key), report: report,
                                draft: draft(
                                    report, UpdateOverrides(), update.feedback, FeedbackOrigin(id: update.id)), index: i
                            ))
                        if held.count == Self.mostHeld { await finish(&held, hub, &results) }
                        continue
                    }
                } catch {
                    failed(error, key)
                    throw error
                }
                // Of somebody who is held here, or not in memory: nobody is held while others are waited for.
                await finish(&held, hub, &results)
                results[i] = .success(try await updateAdapter(for: update.user, with: update.feedback, id: update.id))
            } catch {
                results[i] = .failure(error)
            }
        }
        await finish(&held, hub, &results)
        return results
    }

    private func finish(
        _ held: inout [HeldUpdate], _ hub: JournalHub, _ results: inout [Result<UpdateReport, any Error>]
    ) async {
        if held.isEmpty { return }
        let outcomes = await hub.append(held.map { ($0.draft, $0.key.user) })
        for (update, outcome) in zip(held, outcomes) {
            results[update.index] = Result {
                do {
                    let outcome = try conclude(
                        update.draft, outcome, hub, update.key, update.shard, "updateAdapters")
                    return try settled(update.report, outcome, update.key.user, update.shard) ?? .nothing
                } catch let error as EngineError {
                    // An adapter that another engine has overtaken is let go of.
                    _ = noteResidency(of: update.key, in: update.shard, hadAdapter: true)
                    failed(error, update.key)
                    throw error
                }
            }
            update.shard.withLock { $0.leaveAlone(update.key) }?.leave()
        }
        held.removeAll(keepingCapacity: true)
    }
}
