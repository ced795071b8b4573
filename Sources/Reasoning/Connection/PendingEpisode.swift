package import LoRA

/// The batch after an update, by which its outcome is judged.
package enum NextBatch: Sendable {
    /// There was none.
    case none
    /// What it showed.
    case judged(HeldBatch.Judgement)
    /// To be judged in the background.
    case held(HeldBatch)
}

/// An update whose outcome is not known yet. A class, so that handing it on copies a reference.
///
/// `@unchecked Sendable`: changed by the adapter's owner alone, under its lock, until it is handed to the queue; only read from
/// then on.
package final class PendingEpisode: @unchecked Sendable {
    package var user: UserDigest
    package var version: UInt64
    /// The features before the update.
    package var tracker: ContextTracker
    package var objective: ObjectiveKind
    package var batchSize: Int
    package var shape: AdapterShape
    package var model: UInt64
    package var action: AdaptationAction
    package var lossBefore: Double
    package var lossAfter: Double
    package var latency: Int64
    package var recordedAt: Timestamp
    /// When the update happened, on the clock that intervals are taken on.
    package var uptime: Double

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
