import Attune
import TensorCore

/// `attune migrate`: the adapters of a storage file under another rank or embedding model.
struct MigrateCommand: Command {
    let file: String
    let project: String
    /// `nil` for all.
    let user: String?
    let rank: Int?
    let model: NewModel?
    let isDryRun: Bool
    let format: OutputFormat
    let showsProgress: Bool

    /// Another embedding model, and the same items under the old one and under it.
    struct NewModel {
        let name: String
        let oldItems: String
        let newItems: String
    }

    static let specification = CommandSpecification(
        name: "migrate",
        abstract: "Change the rank or the embedding model of the adapters in a storage file.",
        discussion: [
            "A lower rank merges what each adapter has learned into the best product of that rank, and prints what was lost; "
                + "a higher one loses nothing. Another embedding model needs items under both: a map between the two is "
                + "fitted to them, and its residual and the error of the scores are printed. Look at both, with --dry-run, "
                + "before the result serves anyone.",
            "Each user is done whole or not at all; where one fails, the others are done, and the same command again goes on "
                + "from there. The version rises, the optimizer's memory and the protection are dropped. The updates so far "
                + "go from the journal, for they can't be replayed under the new shape, so they can't be forgotten one by "
                + "one any more; their ids stay known, and what was learned isn't learned again. Make a backup first. "
                + "Nobody else may have the file open for writing.",
        ],
        arguments: [.storageFile],
        options: [
            .value("rank", "N", .integer(1...256), help: "The new rank; at most the embeddings' dimension."),
            .value(
                "embedding-model", "NAME", .text("the name of a model"), help: "The name of the new embedding model."),
            .value(
                "items-from", "NPY", .path(suffix: ".npy"),
                help: "Items under the old model, one a row: an embeddings-NAME.npy as of a data folder."),
            .value(
                "items-to", "NPY", .path(suffix: ".npy"),
                help: "The same items in the same order under the new model. A row of zeros in either is left out."),
            .value("user", short: "u", "ID", .text("a user's id"), help: "This user alone."),
            .flag("dry-run", help: "Print what would happen, and change nothing."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune migrate attune.db --rank 4 --dry-run", explanation: "What rank 4 would cost."),
            .init(
                line: "attune migrate a.db --embedding-model v2 --items-from v1.npy --items-to v2.npy",
                explanation: "Carry all adapters over to the model v2."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        func refuse(_ message: String) -> UsageError { UsageError(message, command: Self.specification.name) }
        file = arguments.storageFile
        project = arguments.project
        user = arguments.text("user")
        rank = arguments.given.contains("rank") ? arguments.integer("rank") : nil
        let (name, old, new) = (
            arguments.text("embedding-model"), arguments.text("items-from"), arguments.text("items-to")
        )
        switch (name, old, new) {
        case (nil, nil, nil):
            model = nil
            guard rank != nil else {
                throw refuse("nothing to change: give '--rank', or '--embedding-model' with items.")
            }
        case (let name?, let old?, let new?):
            guard name.utf8.count <= 1024 else {
                throw refuse("'--embedding-model' has \(name.utf8.count) bytes; at most 1024 are allowed.")
            }
            model = NewModel(name: name, oldItems: old, newItems: new)
        case (_?, _, _):
            throw refuse(
                "numbers of two embedding models have nothing to do with each other: '--embedding-model' needs the same "
                    + "items under both, '--items-from' and '--items-to'.")
        case (nil, _, _):
            throw refuse("'--items-from' and '--items-to' are for '--embedding-model', which is missing.")
        }
        isDryRun = arguments.flag("dry-run")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    /// What became of one user.
    private enum Outcome {
        case changed(Change)
        /// The adapter is as it was asked for.
        case unchanged
        case failed(String)
    }

    private struct Change {
        var before: Facts
        var after: Facts
        var relativeError: Double?
        var scoreError: Double?
        var entries: Int
    }

    /// What is said of an adapter; the adapters of all users would not fit into memory.
    private struct Facts {
        let version: UInt64
        let rank: Int
        let dimension: Int
        let model: String

        init(_ record: StoredAdapter) {
            version = record.adapter.version
            rank = record.adapter.shape.rank
            dimension = record.adapter.shape.dimension
            model = record.embeddingModel
        }
    }

    func run(_ console: Console) async throws {
        let alignment = try model.map { try self.alignment($0) }
        let storage = try await existingProject(project, in: file, access: isDryRun ? .reading : .writing)
        let users: [String]
        if let user {
            _ = try await storage.existing(user)
            users = [user]
        } else {
            users = try await storage.usersOverview().map(\.user)
        }
        let reader = JournalReader(storage)
        if showsProgress { console.beginProgress("migrating", total: max(users.count, 1)) }
        var outcomes: [(user: String, outcome: Outcome)] = []
        for (i, user) in users.enumerated() {
            do {
                outcomes.append((user, try await migrate(user, storage, reader, alignment)))
            } catch let error as EngineError where !(error.cause is StorageError) {
                // The fault of this user's adapter: it says nothing of the others.
                outcomes.append((user, .failed(explanation(of: error))))
            }
            console.advanceProgress(to: i + 1)
        }
        console.endProgress()
        await storage.close()
        print(outcomes, alignment, console)
        let failures = outcomes.count { if case .failed = $0.outcome { true } else { false } }
        guard failures == 0 else {
            throw CommandFailure(
                .badData, "\(failures) of \(users.count) users can't be migrated, and are as they were; see above.")
        }
    }

    private func migrate(
        _ user: String, _ storage: SQLiteStorage, _ reader: JournalReader, _ alignment: EmbeddingAlignment?
    ) async throws -> Outcome {
        guard let record = try await storage.record(of: user) else { return .unchanged }
        let before = try await reader.current(record)
        // Done before: the same command again goes on with the others.
        let isCarried = model.map { $0.name == before.embeddingModel } ?? true
        let migration = try before.migrated(
            rank: rank, embeddingModel: isCarried ? nil : model?.name, alignment: isCarried ? nil : alignment)
        var after = migration.record
        guard after.adapter.version != before.adapter.version else { return .unchanged }
        after.isJournalled = true
        if !isDryRun { try await storage.replace(with: after, keepsFeedbackIDs: true) }
        return .changed(
            Change(
                before: Facts(before), after: Facts(after), relativeError: migration.rankChange?.relativeError,
                scoreError: migration.transport?.scoreError, entries: record.entries.count))
    }

    /// The map between the two models, fitted to the items that both have embedded.
    private func alignment(_ model: NewModel) throws -> EmbeddingAlignment {
        let old: Matrix<Float> = try NumPyFile(path: model.oldItems).matrix()
        let new: Matrix<Float> = try NumPyFile(path: model.newItems).matrix()
        let names = "\(printable(model.oldItems)) and \(printable(model.newItems))"
        guard old.rows == new.rows else {
            throw CommandFailure(
                .badData, "\(names) have \(old.rows) and \(new.rows) rows: give the same items in the same order")
        }
        // As in a data folder, a row of zeros is an item without an embedding.
        let rows = (0..<old.rows).filter { i in
            old.row(i).contains { $0 != 0 } && new.row(i).contains { $0 != 0 }
        }
        guard rows.count >= EmbeddingAlignment.fewestItems else {
            throw CommandFailure(
                .badData,
                "\(names) share \(rows.count) items with embeddings; at least \(EmbeddingAlignment.fewestItems) are needed"
            )
        }
        do throws(LoRAError) {
            return try EmbeddingAlignment(old: old.rows(rows), new: new.rows(rows))
        } catch {
            throw CommandFailure(.badData, "no map can be fitted between \(names): \(error)")
        }
    }
}

// MARK: - Printing

extension MigrateCommand {
    private func print(
        _ outcomes: [(user: String, outcome: Outcome)], _ alignment: EmbeddingAlignment?, _ console: Console
    ) {
        switch format {
        case .json: console.write(json(outcomes, alignment).text + "\n")
        case .text: console.write(text(outcomes, alignment))
        }
    }

    private func json(_ outcomes: [(user: String, outcome: Outcome)], _ alignment: EmbeddingAlignment?) -> JSONText {
        let users = outcomes.map { user, outcome in
            var members: [(String, JSONText)] = [("user", .string(user))]
            switch outcome {
            case .unchanged: members.append(("outcome", .string("unchanged")))
            case .failed(let reason): members += [("outcome", .string("failed")), ("reason", .string(reason))]
            case .changed(let change):
                let (old, new) = (change.before, change.after)
                members += [
                    ("outcome", .string("changed")), ("version_before", .string("\(old.version)")),
                    ("version", .string("\(new.version)")), ("rank_before", .integer(old.rank)),
                    ("rank", .integer(new.rank)), ("dimension_before", .integer(old.dimension)),
                    ("dimension", .integer(new.dimension)), ("embedding_model_before", .string(old.model)),
                    ("embedding_model", .string(new.model)),
                    ("relative_error", change.relativeError.map { .number($0) } ?? .null),
                    ("score_error", change.scoreError.map { .number($0) } ?? .null),
                    ("removed_entries", .integer(change.entries)),
                ]
            }
            return JSONText.object(members)
        }
        let fit = alignment.map { alignment in
            JSONText.object([
                ("fitted_items", .integer(alignment.fittedItems)), ("ridge", .number(alignment.ridge)),
                ("residual", .number(alignment.residual)),
            ])
        }
        return .object([("dry_run", .bool(isDryRun)), ("alignment", fit ?? .null), ("users", .array(users))])
    }

    private func text(_ outcomes: [(user: String, outcome: Outcome)], _ alignment: EmbeddingAlignment?) -> String {
        func percent(_ share: Double?) -> String { share.map { Self.percent($0) } ?? "none" }
        var text = ""
        if let alignment {
            text +=
                "The map between the models, fitted to \(alignment.fittedItems) items, leaves "
                + "\(percent(alignment.residual)) of the old embeddings of others.\n\n"
        }
        var table = TextTable()
        table.add(["user", "version", "rank", "lost of the map", "error of scores", "updates dropped"])
        var (changed, unchanged) = (0, 0)
        for (user, outcome) in outcomes {
            switch outcome {
            case .unchanged: unchanged += 1
            case .failed(let reason): table.add([printable(user), "FAILED: \(printable(reason))"])
            case .changed(let change):
                changed += 1
                let (old, new) = (change.before, change.after)
                table.add([
                    printable(user), "\(old.version) to \(new.version)", "\(old.rank) to \(new.rank)",
                    percent(change.relativeError), percent(change.scoreError), "\(change.entries)",
                ])
            }
        }
        if unchanged < outcomes.count { text += table.text + "\n" }
        let verb = isDryRun ? "would be changed" : "were changed"
        text += "\(changed) users \(verb), \(unchanged) are as asked for already"
        text += isDryRun ? "; nothing was written.\n" : ".\n"
        return text
    }

    /// A share in percent, to four digits.
    private static func percent(_ share: Double) -> String {
        let value = share * 100
        guard value.isFinite, value != 0 else { return value == 0 ? "0 %" : "\(value) %" }
        var unit = 1.0
        while value * unit < 1000, unit < 1e12 { unit *= 10 }
        return "\((value * unit).rounded() / unit) %"
    }
}

extension Matrix<Float> {
    /// Some of the rows, in the order given.
    fileprivate func rows(_ indices: [Int]) -> Matrix<Float> {
        var result = Matrix<Float>(rows: indices.count, columns: columns)
        for (row, index) in indices.enumerated() {
            for (j, value) in self.row(index).enumerated() { result[row, j] = value }
        }
        return result
    }
}
