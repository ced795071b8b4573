import Attune

/// Everything that a storage file has of one user, as one JSON document: what a person may ask for of what is kept about
/// them. The format is in docs/formats.md.
struct UserDocument {
    let project: String
    let record: UserRecord
    let current: StoredAdapter
    /// The priors that the user's adapter was merged into.
    let derived: [DerivedPrior]
    /// The user's episodes in the file's bank.
    let episodes: [StoredEpisode]
    /// The priors that the user was recorded to start from.
    let starts: [(hash: UInt64, isStale: Bool)]

    private static let format = "attune-user"
    private static let formatVersion = 1

    /// The document, ending in a line feed.
    ///
    /// - Throws: ``EngineError`` for an entry that cannot be read; what the journal throws.
    /// - Complexity: O(parameters + all that the entries hold).
    func text(_ reader: JournalReader) async throws -> String {
        var entries: [JSONText] = []
        var configurations: [UInt64: EngineConfiguration] = [:]
        var priors: Set<UInt64> = []
        for entry in record.entries {
            let decoded = try await reader.decoded(entry)
            entries.append(Self.json(decoded))
            if let prior = decoded.start?.prior { priors.insert(prior) }
            if configurations[decoded.configuration] == nil {
                configurations[decoded.configuration] = try await reader.configuration(decoded.configuration)
            }
        }
        let isSaved = record.saved?.adapter.version == current.adapter.version
        let settings = configurations.sorted { $0.key < $1.key }.map { hash, configuration in
            (
                fixedHex(hash),
                JSONText.object(configuration.settings.filter(Self.isRecorded).map { ($0.name, $0.value.json) })
            )
        }
        let feedback = record.feedback.map { known in
            JSONText.object([
                ("id", .string("\(known.id)")), ("version", known.version.map { .string("\($0)") } ?? .null),
                ("forgotten", .bool(known.version == nil)),
            ])
        }
        // Who started from them is not the user's to know.
        let mergedInto = derived.map { prior in
            JSONText.object([
                ("prior", .string(fixedHex(prior.hash))), ("version", .string("\(prior.version)")),
                ("stale", .bool(prior.isStale)),
            ])
        }
        let startsFrom = starts.map { prior in
            JSONText.object([("prior", .string(fixedHex(prior.hash))), ("stale", .bool(prior.isStale))])
        }
        return JSONText.object([
            ("format", .string(Self.format)), ("format_version", .integer(Self.formatVersion)),
            ("attune_version", .string(App.version)), ("project", .string(project)), ("user", .string(record.user)),
            ("version", .string("\(current.adapter.version)")),
            ("saved_version", record.saved.map { .string("\($0.adapter.version)") } ?? .null),
            ("adapter", Self.json(current)),
            ("saved_adapter", isSaved ? .null : record.saved.map(Self.json) ?? .null),
            ("base_adapter", record.base.map(Self.json) ?? .null),
            ("entries", .array(entries)),
            ("feedback_ids", .array(feedback)),
            ("configurations", .object(settings)),
            ("priors", .array(priors.sorted().map { .string(fixedHex($0)) })),
            ("merged_into", .array(mergedInto)),
            ("starts_from", .array(startsFrom)), ("episodes", .array(episodes.map(Self.json))),
        ]).text + "\n"
    }
}

extension UserDocument {
    /// An episode with all that it says of the user.
    private static func json(_ stored: StoredEpisode) -> JSONText {
        let (episode, context) = (stored.episode, stored.episode.context)
        return .object(
            EpisodeRow(stored: stored).members + [
                ("taste", numbers(context.taste)), ("taste_likes", .integer(context.tasteLikes)),
                ("input", .string(episode.input)), ("output", .string(episode.output)),
                ("critique", .string(episode.critique)),
            ])
    }

    /// Whether entries say under which value of the setting they were made; the others are an engine's own affair.
    private static func isRecorded(_ setting: Setting) -> Bool {
        setting.name.hasPrefix("update.") || recorded.contains(setting.name)
    }

    private static let recorded: Set<String> = [
        "dimension", "rank", "alpha", "scaling", "hasBias", "normalizesOutput", "embeddingModel", "seed",
    ]
}

// MARK: - Adapters

extension UserDocument {
    /// An adapter with its numbers, and all its state as the bytes of a snapshot.
    static func json(_ record: StoredAdapter) -> JSONText {
        let adapter = record.adapter
        func rows(_ matrix: Matrix<Float>) -> JSONText { .array((0..<matrix.rows).map { numbers(matrix.row($0)) }) }
        return .object(
            facts(record) + [
                ("A", rows(adapter.down)), ("B_transposed", rows(adapter.up)),
                ("bias_values", adapter.bias.map(numbers) ?? .null),
                ("snapshot_base64", .string(base64(adapter.snapshot()))),
            ])
    }

    /// What an adapter is, without its numbers.
    static func facts(_ record: StoredAdapter) -> [(String, JSONText)] {
        let (adapter, shape) = (record.adapter, record.adapter.shape)
        return [
            ("embedding_model", .string(record.embeddingModel)), ("dimension", .integer(shape.dimension)),
            ("rank", .integer(shape.rank)), ("alpha", short(shape.alpha)), ("scaling", .string(shape.scaling.rawValue)),
            ("scale", short(shape.scale)), ("bias", .bool(shape.hasBias)),
            ("normalizes_output", .bool(shape.normalizesOutput)), ("seed", .string("\(adapter.identity.seed)")),
            ("stream", .string("\(adapter.identity.stream)")), ("version", .string("\(adapter.version)")),
            ("steps", .string("\(adapter.steps)")),
            ("started_from", adapter.startedFrom.map { .string(fixedHex($0)) } ?? .null),
            ("optimizer_state", adapter.optimizerState.map { .string($0.name) } ?? .null),
            ("optimizer_steps", adapter.optimizerState.map { .string("\($0.steps)") } ?? .null),
            ("protected", .bool(adapter.protection != nil)),
            ("norm_a", .number(norm(adapter.down.array))), ("norm_b", .number(norm(adapter.up.array))),
            ("norm_bias", adapter.bias.map { .number(norm($0)) } ?? .null),
            ("norm_product", .number(adapter.productNorm)), ("bytes", .integer(adapter.byteCount)),
            ("state_hash", .string(fixedHex(adapter.stateHash))),
        ]
    }

    private static func norm(_ values: [Float]) -> Double {
        values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    }

    /// Exactly, so that whoever reads them has the same 32 bits.
    static func numbers(_ values: [Float]) -> JSONText { .array(values.map { .number(Double($0)) }) }

    /// A setting as it was written: 0.3 is 0.30000001192… as a Double.
    static func short(_ value: Float) -> JSONText { .number(Double("\(value)") ?? Double(value)) }

    private static func base64(_ bytes: [UInt8]) -> String {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var word = 0
            for (i, byte) in group.enumerated() { word |= Int(byte) << (16 - 8 * i) }
            for i in 0..<4 {
                text.append(i <= group.count ? letters[word >> (18 - 6 * i) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

// MARK: - Entries

extension UserDocument {
    /// An entry with all that it holds.
    static func json(_ decoded: DecodedEntry) -> JSONText {
        let entry = decoded.entry
        var members: [(String, JSONText)] = [
            ("version", .string("\(entry.version)")), ("time", .string(timestamp(microseconds: entry.recordedAt))),
            ("kind", .string(decoded.kind.rawValue)), ("id", entry.id.map { .string("\($0)") } ?? .null),
            ("configuration", .string(fixedHex(decoded.configuration))),
        ]
        if let start = decoded.start {
            members.append(
                (
                    "start",
                    .object([
                        ("prior", start.prior.map { .string(fixedHex($0)) } ?? .null),
                        ("learned_again", .bool(start.relearns)),
                    ])
                ))
        }
        if let update = decoded.update {
            func asked(_ value: Float?) -> JSONText { value.map(short) ?? .null }
            members += [
                ("learning_rate", .number(update.learningRate)), ("clip_threshold", .number(update.clipThreshold)),
                ("consolidation_strength", short(update.consolidationStrength)),
                (
                    "asked_for",
                    .object([
                        ("learning_rate", asked(update.overrides.learningRate)),
                        ("clip_threshold", asked(update.overrides.clipThreshold)),
                        ("consolidation_strength", asked(update.overrides.consolidationStrength)),
                    ])
                ), ("steps_before", .string("\(update.stepsBefore)")),
                ("feedback", .array(update.feedback.map(json))),
            ]
        }
        return .object(members)
    }

    private static func json(_ sample: Feedback) -> JSONText {
        let embedding =
            sample.origin.map { json(.catalogued($0.index, $0.catalogue)) }
            ?? .object([("vector", numbers(sample.embedding))])
        var members: [(String, JSONText)] = [
            ("signal", .string(sample.signal.name)), ("weight", short(sample.weight)),
            ("propensity", sample.propensity.map(short) ?? .null), ("embedding", embedding),
        ]
        switch sample.signal {
        case .target(let target): members.append(("target", numbers(target)))
        case .preference(let item, let others), .ranking(let item, let others):
            members += [("item", json(item)), ("others", .array(others.map(json)))]
        case .like(let index, let catalogue, let seen):
            members += [
                ("item", json(.catalogued(index, catalogue))), ("seen", .array(seen.map { .integer($0) })),
            ]
        case .reward(let reward, let item): members += [("reward", short(reward)), ("item", json(item))]
        case .watch(let event, let item):
            members += [
                ("completion", short(event.completion)), ("rating", short(event.rating)),
                ("rewatched", .bool(event.rewatched)), ("item", json(item)),
            ]
        case .scaledInput(let reward): members.append(("reward", short(reward)))
        }
        return .object(members)
    }

    private static func json(_ item: Item) -> JSONText {
        switch item {
        case .vector(let values, let offset): .object([("vector", numbers(values)), ("offset", short(offset))])
        case .catalogued(let index, let catalogue):
            .object([("item", .integer(index)), ("catalogue", .string(fixedHex(catalogue.contentHash)))])
        }
    }
}

extension Feedback.Signal {
    /// The signal's name in what is printed and exported.
    var name: String {
        switch self {
        case .target: "target"
        case .preference: "preference"
        case .ranking: "ranking"
        case .like: "like"
        case .reward: "reward"
        case .watch: "watch"
        case .scaledInput: "scaled_input"
        }
    }

    /// The item that the signal is about, where it is one of a catalogue.
    var item: Int? {
        switch self {
        case .target, .scaledInput: return nil
        case .like(let index, _, _): return index
        case .preference(let item, _), .ranking(let item, _), .reward(_, let item), .watch(_, let item):
            guard case .catalogued(let index, _) = item else { return nil }
            return index
        }
    }
}
