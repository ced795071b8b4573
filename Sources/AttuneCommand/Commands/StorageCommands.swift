import Attune

/// `attune users`: who is in a storage file.
struct UsersCommand: Command {
    let file: String
    let project: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "users",
        abstract: "List the users of a storage file.",
        discussion: [
            "Prints every user with an adapter or with updates in the journal: the version that was saved, and how many "
                + "updates stand in the journal; 'damaged' where a page of the file is, that has something of theirs. The file "
                + "isn't changed, and may be in use."
        ],
        arguments: [.storageFile], options: [.project, .format],
        examples: [.init(line: "attune users attune.db", explanation: "A table of the users, by id.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let users = try await storage.usersOverview()
        await storage.close()
        switch format {
        case .json:
            let all = users.map { user in
                JSONText.object([
                    ("user", .string(user.user)), ("version", user.version.map { .string("\($0)") } ?? .null),
                    ("entries", .integer(user.entries)), ("bytes", .integer(user.bytes)),
                    ("damaged", .bool(user.isDamaged)),
                ])
            }
            console.write(JSONText.object([("users", .array(all))]).text + "\n")
        case .text:
            var table = TextTable()
            table.add(["user", "saved version", "updates in the journal", "bytes"])
            for user in users {
                let version = user.isDamaged ? "damaged" : user.version.map { "\($0)" } ?? "none"
                let numbers = user.isDamaged ? ["", ""] : ["\(user.entries)", "\(user.bytes)"]
                table.add([printable(user.user), version] + numbers)
            }
            console.write("\(users.count) users in \(printable(file))\n\n" + table.text)
        }
    }
}

/// `attune forget`: a user, or one of their updates.
struct ForgetCommand: Command {
    let file: String
    let project: String
    let user: String
    let feedback: FeedbackID?
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "forget",
        abstract: "Forget a user of a storage file, or one of their updates.",
        discussion: [
            "Without --feedback the user's adapter, updates and id are removed, their bytes are overwritten in the file and "
                + "its log, and later updates of the user are refused until the user is readmitted. So they are where nothing "
                + "was known of the user, which a warning says.",
            "With --feedback one update is removed, and the adapter becomes, to the bit, the one that never saw it; its "
                + "version rises by one. The update is refused when it comes again.",
            "Priors that were merged from an adapter which had learned what is forgotten become stale: no new user starts from "
                + "them. They are listed, with the users who have started from them and have an adapter still.",
            "Nobody else may have the file open for writing. While somebody reads it bytes may stay in its log: 'erased' is "
                + "false then, and 'attune compact' removes them later. In the file's bank the user's episodes go, and skills and "
                + "starts that they gave to are made again without them; a bank elsewhere isn't reached.",
        ],
        arguments: [.storageFile],
        options: [
            .user,
            .value(
                "feedback", "ID", .text("the id of an update"),
                help: "The update's id: 32 hexadecimal digits, or the name that the application gave it."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune forget attune.db --user 42", explanation: "All of user 42."),
            .init(
                line: "attune forget attune.db --user 42 --feedback order-1234",
                explanation: "What was learned from one event."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        user = try arguments.user("whom to forget", for: Self.specification)
        feedback = arguments.text("feedback").map { FeedbackID(hexadecimal: $0) ?? FeedbackID($0) }
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .writing)
        let facts: [(String, JSONText)]
        let stale: [StalePrior]
        let isErased: Bool
        var isKnown = true
        if let feedback {
            let configuration = try await configuration(storage)
            let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
            let receipt = try await engine.forgetFeedback(feedback, of: user)
            stale = receipt.stalePriors
            isErased = receipt.isErased
            facts = [
                ("user", .string(user)), ("feedback", .string("\(feedback)")),
                ("learned_at_version", .string("\(receipt.learnedAt)")), ("version", .string("\(receipt.version)")),
                ("replayed_entries", .integer(receipt.replayed)), ("erased", .bool(isErased)),
            ]
        } else {
            let hadAdapter = try await hasAdapter(in: storage)
            let priors = try await storage.priors(from: user)
            if !hadAdapter, priors.isEmpty { isKnown = try await hasTraces(in: storage) }
            stale = try await StalePrior.all(in: priors, without: user) {
                try await storage.users() + storage.journalledUsers()
            }
            let entries = try await storage.removeEntries(of: user, isForgotten: true)
            let bank = try await forgetInBank(storage, console)
            if bank.episodes > 0 { isKnown = true }
            isErased = try await Self.erase(storage)
            facts = [
                ("user", .string(user)), ("had_saved_adapter", .bool(hadAdapter)),
                ("removed_entries", .integer(entries)), ("removed_episodes", .integer(bank.episodes)),
                ("skills_made_again", .integer(bank.rederived.count)), ("skills_retired", .integer(bank.retired.count)),
                ("erased", .bool(isErased)),
            ]
        }
        await storage.close()
        switch format {
        case .json:
            let priors = stale.map { prior in
                JSONText.object([
                    ("prior", .string(fixedHex(prior.hash))), ("users", .array(prior.users.map { .string($0) })),
                ])
            }
            console.write(JSONText.object(facts + [("stale_priors", .array(priors))]).text + "\n")
        case .text:
            var table = TextTable()
            for (name, value) in facts { table.add([name, TextTable.plain(value)]) }
            table.add(["stale_priors", "\(stale.count)"])
            console.write(table.text + stale.map(Self.line).joined())
        }
        // What was asked for is done: no failure.
        if !isKnown {
            console.writeError(
                "Warning: nothing was known of the user \(quoted(user)) in the project \(quoted(project)): is the id right? "
                    + "Later updates of theirs are refused all the same.\n")
        }
        if !isErased {
            console.writeError(
                "Warning: the bytes of what was forgotten are in the file's log still, because somebody reads the file. "
                    + "An engine's eraseForgotten() or 'attune compact' removes them when nobody does.\n")
        }
    }

    /// Takes the user out of the file's bank, if it holds anything: what others have of them there is made again without them.
    private func forgetInBank(_ storage: SQLiteStorage, _ console: Console) async throws -> ForgettingReport {
        guard try await storage.hasBank() else { return ForgettingReport() }
        // Without the user, whose tombstone is there already.
        let bank = try await SQLiteReasoningBank.opened(storage, console, showsProgress: showsProgress, forgets: false)
        return try await bank.forget(storage.bankKey.digest(of: user), donors: try await storage.donors())
    }

    /// Whether the user has a saved adapter. A damaged one is one too, and goes.
    private func hasAdapter(in storage: SQLiteStorage) async throws -> Bool {
        do {
            return try await storage.load(user) != nil
        } catch let error as EngineError where error.code == .damagedAdapter {
            return true
        }
    }

    /// The settings of the user's updates.
    private func configuration(_ storage: SQLiteStorage) async throws -> EngineConfiguration {
        do {
            return try await JournalVerification.configuration(of: user, in: storage)
        } catch let error as EngineError where error.code == .unknownUser {
            // Unknown or forgotten? Or with an adapter alone, and then it is the updates that are missing.
            _ = try await storage.existing(user)
            throw error
        }
    }

    /// Whether the file has, or had, anything of the user. What can't be read is something.
    private func hasTraces(in storage: SQLiteStorage) async throws -> Bool {
        if try await storage.isForgotten(user) { return true }
        do {
            return try await storage.highestVersion(of: user) != nil
        } catch let error as StorageError where error.code == .damaged {
            return true
        }
    }

    /// Whether the bytes of what was removed are gone; not while somebody reads the file.
    private static func erase(_ storage: SQLiteStorage) async throws -> Bool {
        do {
            try await storage.erase()
            return true
        } catch let error as StorageError where error.code == .locked {
            return false
        }
    }

    /// So many users of a prior are named in a text; JSON names all.
    private static let mostNamed = 20

    private static func line(_ prior: StalePrior) -> String {
        let start = "Prior \(fixedHex(prior.hash)) is stale: merge again. "
        if prior.users.isEmpty { return start + "No user with an adapter has started from it.\n" }
        let names = prior.users.prefix(mostNamed).map { printable($0) }.joined(separator: ", ")
        let rest = prior.users.count - mostNamed
        return start + "\(prior.users.count) started from it: \(names)\(rest > 0 ? " and \(rest) more" : "").\n"
    }
}

/// `attune verify`: whether adapters are what their journal gives.
struct VerifyCommand: Command {
    let file: String
    let project: String
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "verify",
        abstract: "Check a storage file: recompute every adapter from its journal and compare the bytes.",
        discussion: [
            "Reads every page of the file, replays the updates of every user from the beginning of the journal and compares the "
                + "adapter that comes of them with the saved one, byte by byte. Needs nothing but the file, doesn't change it, and "
                + "may run while it is in use. Prints nothing of what users did.",
            "A damaged page is a mismatch, as are the users whose adapters or updates stand on it; the others are checked all the "
                + "same. Where the file can't be opened, or its users can't be listed, that is an error (65).",
        ],
        arguments: [.storageFile], options: [.project, .format, .progress],
        examples: [
            .init(line: "attune verify attune.db", explanation: "Ends with 0 for a clean file, 1 for a mismatch.")
        ],
        exitCodes: [.mismatch, .badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let pages = try await storage.damagedPages()
        let total = try await storage.usersOverview().count
        if showsProgress { console.beginProgress("verifying", total: max(total, 1)) }
        let result = try await JournalVerification.run(storage, storage) { done, _ in
            console.advanceProgress(to: min(done, total))
        }
        console.endProgress()
        await storage.close()
        switch format {
        case .json:
            let mismatches = result.mismatches.map {
                JSONText.object([("user", .string($0.user)), ("reason", .string($0.reason))])
            }
            console.write(
                JSONText.object([
                    ("users", .integer(result.users)), ("entries", .integer(result.entries)),
                    ("unsaved_entries", .integer(result.unsavedEntries)), ("mismatches", .array(mismatches)),
                    ("damaged_pages", .array(pages.map { .string($0) })),
                ]).text + "\n")
        case .text:
            console.write(
                "\(result.users) users, \(result.entries) updates in the journal, \(result.unsavedEntries) of them not yet in "
                    + "a saved adapter.\n")
            for page in pages { console.write("DAMAGED   \(printable(page))\n") }
            for mismatch in result.mismatches {
                console.write("MISMATCH  user \(printable(mismatch.user)): \(printable(mismatch.reason))\n")
            }
            if result.mismatches.isEmpty, pages.isEmpty {
                console.write("Clean: every page is whole, and every adapter is what its journal gives.\n")
            }
        }
        if !pages.isEmpty {
            throw CommandFailure(
                .mismatch,
                "The file is damaged: restore a backup. \(result.mismatches.count) of \(result.users) users have a mismatch."
            )
        }
        if !result.mismatches.isEmpty {
            throw CommandFailure(.mismatch, "\(result.mismatches.count) of \(result.users) users have a mismatch.")
        }
    }
}

/// `attune backup`: a copy of a storage file at one moment.
struct BackupCommand: Command {
    let file: String
    let destination: String
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "backup",
        abstract: "Copy a storage file as it is at one moment, also while it is in use.",
        discussion: [
            "The copy appears whole or not at all, where nothing is yet, and is itself a storage file. To restore, put it in the place of the file "
                + "while nobody has that open, and remove the old file's -wal and -shm."
        ],
        arguments: [
            .storageFile, PositionalSpecification(name: "COPY", help: "The new file; there must be none yet."),
        ],
        options: [.progress],
        examples: [.init(line: "attune backup attune.db attune-monday.db", explanation: "A copy of all projects.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        guard let destination = arguments.positional("COPY") else { preconditionFailure("COPY isn't declared") }
        self.destination = destination
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await SQLiteStorage(path: file, access: .reading)
        try requireNewOutput(destination)
        if showsProgress { console.beginProgress("copying", total: 1000) }
        try await storage.backup(to: destination) { done, all in
            console.advanceProgress(to: all > 0 ? done * 1000 / all : 0)
        }
        console.endProgress()
        await storage.close()
        console.write("Copied \(printable(file)) to \(printable(destination)).\n")
    }
}

/// `attune compact`: a storage file without the room that deleted rows have left.
struct CompactCommand: Command {
    let file: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "compact",
        abstract: "Make a storage file smaller: give back the room that deleted rows have left.",
        discussion: [
            "Rewrites the file, all projects of it, and prints its bytes before and after. Needs room for two copies meanwhile: one "
                + "beside the file, one in the folder for temporary files (SQLITE_TMPDIR, TMPDIR or /var/tmp). Nobody else may have "
                + "the file open for writing. What is stored doesn't change.",
            "While somebody reads the file for longer than two seconds it can't be made smaller: that is an error (74), and the new "
                + "pages stand in the log beside it. Call it again when they are done.",
        ],
        arguments: [.storageFile], options: [.format],
        examples: [.init(line: "attune compact attune.db", explanation: "After many users were forgotten.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        try await requireFile(file)
        let storage = try await SQLiteStorage(path: file)
        let result: (before: Int64, after: Int64)
        do {
            result = try await storage.compact()
        } catch {
            // Where nobody else has the file open, that empties the log too.
            await storage.close()
            throw error
        }
        await storage.close()
        let (before, after) = result
        switch format {
        case .json:
            console.write(
                JSONText.object([("bytes_before", .integer(Int(before))), ("bytes_after", .integer(Int(after)))]).text
                    + "\n")
        case .text: console.write("\(printable(file)): \(before) bytes before, \(after) after.\n")
        }
    }
}
