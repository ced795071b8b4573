import Attune

// What the commands on a file's bank share.

extension SQLiteReasoningBank {
    /// The bank of a project that is there. Reading a million episodes takes seconds, which a progress line shows.
    ///
    /// - Parameter forgets: Whether users who were forgotten without the bank are forgotten in it.
    static func opened(
        _ storage: SQLiteStorage, _ console: Console, showsProgress: Bool, forgets: Bool = true
    ) async throws -> SQLiteReasoningBank {
        let overview = try await storage.bankOverview()
        if showsProgress { console.beginProgress("reading episodes", total: overview.episodes) }
        defer { console.endProgress() }
        let progress: @Sendable (Int) -> Void = { console.advanceProgress(to: $0) }
        // A service may keep more than is usual: a command lets go of nothing of that.
        let capacity = max(1_000_000, overview.episodes)
        return forgets
            ? try await SQLiteReasoningBank(storage, capacity: capacity, progress: progress)
            : try await SQLiteReasoningBank(unsettled: storage, capacity: capacity, progress: progress)
    }
}

extension Console {
    /// Names those who could give nothing.
    func warnOfDamage(_ donors: JournalDonors) {
        let damaged = donors.damaged
        guard !damaged.isEmpty else { return }
        let names = damaged.prefix(5).map { quoted($0) }.joined(separator: ", ")
        writeError(
            "Warning: \(damaged.count) adapters are damaged and gave nothing: \(names)\(damaged.count > 5 ? " and more" : ""). "
                + "'attune verify' says more.\n")
    }
}

extension SQLiteStorage {
    /// The secret under which the bank knows this file's users.
    var bankKey: DigestKey {
        guard let key = digestKey else { preconditionFailure("a storage file has a key") }
        return key
    }

    /// This file's users as donors.
    func donors() async throws -> JournalDonors { try await JournalDonors(self, self, key: bankKey) }
}

extension AdapterKind {
    var json: JSONText {
        .object([
            ("objective", .string(objective.rawValue)), ("dimension", .integer(dimension)), ("rank", .integer(rank)),
            ("model", .string(fixedHex(model))),
        ])
    }

    var words: String { "\(objective.rawValue), \(dimension)/\(rank)" }
}

extension ConfidenceInterval {
    var json: JSONText { .object([("mean", .number(mean)), ("low", .number(low)), ("high", .number(high))]) }

    var words: String { "\(Self.rounded(mean)) [\(Self.rounded(low)), \(Self.rounded(high))]" }

    static func rounded(_ value: Double) -> String { "\((value * 10_000).rounded() / 10_000)" }
}

extension GroupEvidence {
    var json: JSONText {
        .object([
            ("users", .integer(users)), ("uses", .integer(uses)), ("success_rate", .number(successRate)),
            ("success_rate_low", .number(wilsonLow)), ("gain", gain.json),
        ])
    }
}

extension Skill {
    var json: JSONText {
        .object([
            ("skill", .string("\(id)")), ("kind", kind.json), ("evidence", evidence.json),
            ("learning_rate", .number(Double(learningRate))), ("donors", .integer(donors.count)),
            ("start", initialization.map { .string("\($0.id)") } ?? .null),
            ("updated_at", .string(timestamp(microseconds: updatedAt.microseconds))),
        ])
    }

    static let heading = [
        "skill", "kind", "users", "episodes", "success rate", "gain over no adapter, 95 %", "learning rate", "donors",
        "start",
    ]

    var cells: [String] {
        [
            "\(id)", kind.words, "\(evidence.users)", "\(evidence.uses)",
            ConfidenceInterval.rounded(evidence.successRate), evidence.gain.words, "\(learningRate)",
            "\(donors.count)", initialization.map { "\($0.id)" } ?? "none",
        ]
    }
}

/// Episodes without identity, for people and programs.
struct EpisodeRow {
    let stored: StoredEpisode

    var json: JSONText { .object(members) }

    var members: [(String, JSONText)] {
        let episode = stored.episode
        return [
            ("episode", .string("\(stored.id)")),
            ("recorded_at", .string(timestamp(microseconds: episode.recordedAt.microseconds))),
            ("user", .string("\(episode.user)")), ("version", .string("\(episode.version)")),
            ("kind", AdapterKind(episode.context).json), ("session", .string(episode.sessionID)),
            ("seen", .integer(episode.context.seen)), ("batch", .integer(episode.context.batchSize)),
            ("learning_rate", .number(Double(episode.action.learningRate))),
            ("clip_threshold", .number(Double(episode.action.clipThreshold))),
            ("propensity", .number(episode.action.propensity)),
            ("start", episode.action.initialization.map { .string("\($0)") } ?? .null),
            ("loss_before", .number(episode.lossBefore)), ("loss_after", .number(episode.lossAfter)),
            (
                "outcome",
                episode.outcome.map { outcome in
                    .object([
                        ("gain", .number(outcome.gain)), ("benefit", .number(outcome.benefit)),
                        ("reward", .number(outcome.reward)), ("success", .bool(outcome.success)),
                    ])
                } ?? .null
            ),
        ]
    }

    static let heading = ["episode", "recorded", "user", "version", "kind", "rate", "gain", "benefit", "reward"]

    var cells: [String] {
        let episode = stored.episode
        let outcome = episode.outcome.map { [$0.gain, $0.benefit, $0.reward].map(ConfidenceInterval.rounded) }
        return [
            "\(stored.id)", timestamp(microseconds: episode.recordedAt.microseconds),
            String("\(episode.user)".prefix(8)), "\(episode.version)", AdapterKind(episode.context).words,
            "\(episode.action.learningRate)",
        ] + (outcome ?? ["unknown", "", ""])
    }
}
