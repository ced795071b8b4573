import Attune

/// `attune show`: what a storage file has of one user.
struct ShowCommand: Command {
    let file: String
    let project: String
    let user: String
    /// The most updates that are listed.
    let entries: Int
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "show",
        abstract: "Show what a storage file has of one user.",
        discussion: [
            "Prints the adapter that the user has now, which is the saved one with the updates that it hasn't seen; how many "
                + "updates stand in the journal, since when and of which kinds; and the last of them, each with its version, "
                + "time, id, signals with the numbers of their items, and learning rate. The file isn't changed, and may be "
                + "in use. What the user did is printed: mind who reads it."
        ],
        arguments: [.storageFile],
        options: [
            .user,
            .value(
                "entries", "N", .integer(0...100_000), default: "20",
                help: "List the last N updates."),
            .project, .format,
        ],
        examples: [
            .init(line: "attune show attune.db --user 42", explanation: "User 42, with the last 20 updates."),
            .init(
                line: "attune show attune.db --user 42 --entries 0 --format json",
                explanation: "The numbers alone, for a program."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        user = try arguments.user("whom to show", for: Self.specification)
        entries = arguments.integer("entries")
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let record = try await storage.existing(user)
        let reader = JournalReader(storage)
        let current = try await reader.current(record)
        var signals: [String: Int] = [:]
        var last: [DecodedEntry] = []
        for (i, entry) in record.entries.enumerated() {
            let decoded = try await reader.decoded(entry)
            for sample in decoded.update?.feedback ?? [] { signals[sample.signal.name, default: 0] += 1 }
            if i >= record.entries.count - entries { last.append(decoded) }
        }
        await storage.close()
        let facts = facts(record, current, signals)
        switch format {
        case .json:
            let listed = last.map { entry in Self.json(entry) }
            console.write(JSONText.object(facts + [("last_entries", .array(listed))]).text + "\n")
        case .text:
            var table = TextTable()
            for (name, value) in facts {
                if case .object(let counts) = value {
                    let text = counts.map { "\($0.0) \(TextTable.plain($0.1))" }.joined(separator: ", ")
                    table.add([name, text.isEmpty ? "none" : text])
                } else {
                    table.add([name, TextTable.plain(value)])
                }
            }
            console.write(table.text)
            if !last.isEmpty { console.write("\nThe last \(last.count) updates\n\n" + Self.table(last).text) }
        }
    }

    private func facts(
        _ record: UserRecord, _ current: StoredAdapter, _ signals: [String: Int]
    ) -> [(String, JSONText)] {
        func time(_ entry: JournalEntry?) -> JSONText {
            entry.map { .string(timestamp(microseconds: $0.recordedAt)) } ?? .null
        }
        let forgotten = record.feedback.count { $0.version == nil }
        return [
            ("user", .string(record.user)), ("project", .string(project)),
            ("saved_version", record.saved.map { .string("\($0.adapter.version)") } ?? .null),
            ("saved_adapter_damaged", .bool(record.damage != nil)),
            ("base_version", record.base.map { .string("\($0.adapter.version)") } ?? .null),
        ] + UserDocument.facts(current) + [
            ("entries", .integer(record.entries.count)), ("unsaved_entries", .integer(record.unsavedEntries.count)),
            ("first_recorded", time(record.entries.first)), ("last_recorded", time(record.entries.last)),
            ("signals", .object(signals.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) })),
            ("feedback_ids", .integer(record.feedback.count)), ("forgotten_feedback_ids", .integer(forgotten)),
        ]
    }

    private static func json(_ decoded: DecodedEntry) -> JSONText {
        let samples = (decoded.update?.feedback ?? []).map { sample in
            JSONText.object([
                ("signal", .string(sample.signal.name)), ("item", sample.signal.item.map { .integer($0) } ?? .null),
            ])
        }
        return .object([
            ("version", .string("\(decoded.entry.version)")),
            ("time", .string(timestamp(microseconds: decoded.entry.recordedAt))),
            ("id", decoded.entry.id.map { .string("\($0)") } ?? .null), ("kind", .string(decoded.kind.rawValue)),
            ("feedback", .array(samples)),
            ("learning_rate", decoded.update.map { .number($0.learningRate) } ?? .null),
        ])
    }

    private static func table(_ entries: [DecodedEntry]) -> TextTable {
        var table = TextTable()
        table.add(["version", "time", "id", "learning rate", "what"])
        for decoded in entries {
            table.add([
                "\(decoded.entry.version)", timestamp(microseconds: decoded.entry.recordedAt),
                decoded.entry.id.map { "\($0)" } ?? "none", decoded.update.map { "\($0.learningRate)" } ?? "none",
                what(decoded),
            ])
        }
        return table
    }

    /// The signals of an update in a line; of a large batch the first.
    private static func what(_ decoded: DecodedEntry) -> String {
        guard let feedback = decoded.update?.feedback else { return decoded.kind.rawValue }
        let shown = feedback.prefix(mostSamples).map { sample in
            sample.signal.name + (sample.signal.item.map { " of item \($0)" } ?? "")
        }
        let rest = feedback.count - shown.count
        return shown.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
    }

    private static let mostSamples = 5
}
