internal import LoRA
internal import Reasoning

/// One setting in words, for people who look at a configuration.
public struct Setting: Sendable, Hashable {
    /// The setting's value, as text or number.
    public enum Value: Sendable, Hashable {
        /// Words.
        case text(String)
        /// A number.
        case number(Double)
        /// A whole number.
        case integer(Int)
        /// Yes or no.
        case flag(Bool)
    }

    /// The name, as in the source where it is a property: `update.learningRates.ranking`.
    public let name: String
    /// The value.
    public let value: Value
    /// What it is, with its unit or range.
    public let explanation: String
}

extension EngineConfiguration {
    /// Every effective setting, in the order in which the engine uses them.
    public var settings: [Setting] {
        func number(_ name: String, _ value: Float, _ explanation: String) -> Setting {
            // Through text: 0.3 as a Float is 0.30000001192… as a Double.
            Setting(name: name, value: .number(Double("\(value)") ?? Double(value)), explanation: explanation)
        }
        func text(_ name: String, _ value: String, _ explanation: String) -> Setting {
            Setting(name: name, value: .text(value), explanation: explanation)
        }
        func flag(_ name: String, _ value: Bool, _ explanation: String) -> Setting {
            Setting(name: name, value: .flag(value), explanation: explanation)
        }
        func integer(_ name: String, _ value: Int, _ explanation: String) -> Setting {
            Setting(name: name, value: .integer(value), explanation: explanation)
        }
        var all = [
            integer("dimension", dimension, "values of an embedding, 1...65536; given by your model"),
            integer("rank", rank, "rows of each factor, 1...256"),
            number("alpha", alpha ?? Float(rank), "the scale is alpha / rank (standard) or alpha / sqrt(rank)"),
            text("scaling", scaling.rawValue, "standard or rankStabilized"),
            flag("hasBias", hasBias, "whether a bias vector is learned beside the factors"),
            flag("normalizesOutput", normalizesOutput, "whether results are divided by their norm"),
            text("embeddingModel", embeddingModel, "adapters of another model are refused"),
            Int(exactly: seed).map { integer("seed", $0, "of every random number") }
                ?? text("seed", "\(seed)", "of every random number"),
            flag("isStrict", isStrict, "whether users without an adapter are an error"),
            residentByteBudget.map { integer("residentByteBudget", $0, "bytes that adapters in memory may take") }
                ?? text("residentByteBudget", "off", "bytes that adapters in memory may take"),
            text("durability", durability?.rawValue ?? "buffered with a journal", "how safe an acknowledged update is"),
            integer(
                "checkpoints.updatesPerUser", checkpoints.updatesPerUser, "the most updates that a first read replays"),
            integer("checkpoints.updates", checkpoints.updates, "the most updates that a recovery replays"),
            integer("checkpoints.bytes", checkpoints.bytes, "the most bytes of entries that a recovery reads"),
            text("checkpoints.age", "\(checkpoints.age)", "how long an update stands in the journal alone"),
            text("retention", "\(retention)", "how long the journal keeps what a restart does not need"),
            flag(
                "replaysStarters", replaysStarters,
                "whether forgetting makes those again who started from what is stale"),
            text("update.objective.like", update.objective.like.name, "what a like is contrasted with"),
        ]
        if let negatives = update.objective.like.negatives {
            all.append(integer("update.objective.like.negatives", negatives, "items drawn uniformly for each like"))
        }
        if case .sampledSoftmax(_, let whole) = update.objective.like {
            all.append(
                integer("update.objective.like.wholeUpTo", whole, "catalogues up to so many items are not sampled"))
        }
        let objective = update.objective
        all += [
            number(
                "update.objective.temperature", objective.temperature, "of the softmax losses: scores are divided by it"
            ),
            number("update.objective.rewardBaseline", objective.rewardBaseline, "subtracted from every reward"),
            number(
                "update.objective.neutralWatchScore", objective.neutralWatchScore, "the watch score that says nothing"),
            number(
                "update.objective.highestInversePropensity", objective.highestInversePropensity,
                "the most that a logged propensity multiplies a weight by"),
            text("update.optimizer", "\(update.optimizer)", "how a gradient becomes a step"),
            text("update.schedule", "\(update.schedule.curve)", "how the rate changes with an adapter's updates"),
            integer("update.schedule.warmupSteps", update.schedule.warmupSteps, "updates over which the rate rises"),
            text("update.clipping", update.clipping.name, "how the gradient is limited"),
        ]
        for kind in ObjectiveKind.allCases {
            all.append(
                number("update.learningRates.\(kind.rawValue)", update.learningRates[kind], "rate for this loss"))
            all.append(
                number("update.clipThresholds.\(kind.rawValue)", update.clipThresholds[kind], "clip for this loss"))
            all.append(
                number(
                    "update.fading.\(kind.rawValue)", update.fading[kind], "share of B and b that fades at each update")
            )
        }
        all += [
            number("update.weightDecay", update.weightDecay, "pull of the parameters towards zero"),
            text(
                "update.elasticWeightConsolidation",
                update.elasticWeightConsolidation.map { "strength \($0.strength), decay \($0.decay)" } ?? "off",
                "protection against forgetting"),
            text(
                "update.selfAudit",
                update.selfAudit.map {
                    "rate \($0.rate), prior \($0.prior), share \($0.share), range \($0.range)"
                } ?? "off",
                "a weight on each adapter's reads by its own record"),
            text(
                "update.driftForking",
                update.driftForking.map {
                    "threshold \($0.threshold), tolerance \($0.tolerance), after \($0.minimumUpdates), rate \($0.rate), "
                        + "share \($0.share)"
                } ?? "off",
                "whether a change of taste sets the adapter aside"),
            number(
                "ItemCatalogue.defaultPopularityWeight", ItemCatalogue.defaultPopularityWeight,
                "κ of an item's offset κ·log(1 + popularity); evaluate tries others on donors"),
            flag("update.certifiesSteps", update.certifiesSteps, "whether no step may raise its own loss"),
            flag("update.measuresLossAfter", update.measuresLossAfter, "whether reports have the loss after the step"),
        ]
        all += reasoningSettings
        return all
    }

    private var reasoningSettings: [Setting] {
        func setting(_ name: String, _ value: Setting.Value, _ explanation: String) -> Setting {
            Setting(name: name, value: value, explanation: explanation)
        }
        return [
            setting("hasReasoningBank", .flag(hasReasoningBank), "whether an engine has a bank connected"),
            setting("enableReasoningBankCache", .flag(enableReasoningBankCache), "whether its answers are cached"),
            setting("reasoning.deadline", .text("\(reasoning.deadline)"), "how long an update waits for the bank"),
            setting(
                "reasoning.storeDeadline", .text("\(reasoning.storeDeadline)"),
                "how long the background waits for it to store an episode"),
            setting("reasoning.cacheCapacity", .integer(reasoning.cacheCapacity), "answers that the cache holds"),
            setting("reasoning.cacheTimeToLive", .number(reasoning.cacheTimeToLive), "seconds that one is good for"),
            setting("reasoning.queueCapacity", .integer(reasoning.queueCapacity), "episodes that wait to be stored"),
            setting(
                "reasoning.retrievalLimit", .integer(reasoning.retrievalLimit), "patterns retrieved with an advice"),
            setting("reasoning.minimumReward", .number(reasoning.minimumReward), "the least reward of those, 0...1"),
            setting("reasoning.successMargin", .number(reasoning.successMargin), "the gain above which one succeeded"),
            setting(
                "reasoning.restartsAfter",
                .text(reasoning.restartsAfter.map(String.init).joined(separator: " ")),
                "updates after which a new adapter starts again, its user's taste known better"),
        ]
    }
}
