package import LoRA

/// The batch after an update, by which its outcome is judged.
package enum NextBatch: Sendable {
    /// There was none.
    case none
    /// What it showed.
    case judged(HeldBatch.Judgement)
    /// To be judged in the background.
    indirect case held(HeldBatch)
    /// Cannot be judged.
    indirect case failed(LoRAError)
}

/// An update whose outcome is not known yet. A class, so that handing it on copies a reference.
package final class PendingEpisode: Sendable {
    package let user: UserDigest
    package let version: UInt64
    /// The features before the update.
    package let tracker: ContextTracker
    package let objective: ObjectiveKind
    package let batchSize: Int
    package let shape: AdapterShape
    package let model: UInt64
    package let action: AdaptationAction
    package let lossBefore: Double
    package let lossAfter: Double
    package let latency: Int64
    package let recordedAt: Timestamp
    /// When the update happened, on the clock that intervals are taken on.
    package let uptime: Double

    package init(
        user: UserDigest, version: UInt64, tracker: ContextTracker, objective: ObjectiveKind, batchSize: Int,
        shape: AdapterShape, model: UInt64, action: AdaptationAction, lossBefore: Double, lossAfter: Double,
        latency: Int64, recordedAt: Timestamp, uptime: Double
    ) {
        self.user = user
        self.version = version
        self.tracker = tracker
        self.objective = objective
        self.batchSize = batchSize
        self.shape = shape
        self.model = model
        self.action = action
        self.lossBefore = lossBefore
        self.lossAfter = lossAfter
        self.latency = latency
        self.recordedAt = recordedAt
        self.uptime = uptime
    }

    /// The same update, made again from another start.
    package func madeAgain(from start: PriorID, lossBefore: Double, lossAfter: Double) -> PendingEpisode {
        var action = action
        action.initialization = start
        return PendingEpisode(
            user: user, version: version, tracker: tracker, objective: objective, batchSize: batchSize, shape: shape,
            model: model, action: action, lossBefore: lossBefore, lossAfter: lossAfter, latency: latency,
            recordedAt: recordedAt, uptime: uptime)
    }

    /// The episode with what came of it, in numbers and words.
    func episode(outcome: AdaptationOutcome?, sessionID: String) -> Episode {
        Episode(
            user: user, version: version, sessionID: sessionID, task: objective.rawValue,
            context: tracker.context(
                objective: objective, batchSize: batchSize, shape: shape, model: model,
                initialization: action.initialization, uptime: uptime),
            action: action, lossBefore: lossBefore, lossAfter: lossAfter, outcome: outcome,
            input: "\(objective.rawValue) feedback, \(batchSize) in the batch, after \(tracker.seen) seen",
            output: "rate \(action.learningRate), clip \(action.clipThreshold): loss \(lossBefore) to \(lossAfter)",
            critique: outcome.map {
                "gain \($0.gain) on the next batch, better than a share of \($0.reward) of recent updates"
            } ?? "no next batch",
            latency: latency, recordedAt: recordedAt)
    }
}
