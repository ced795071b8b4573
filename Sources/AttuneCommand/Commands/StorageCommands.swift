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
            "Of a reasoning bank in the file every episode, skill and start is read.",
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
        let bank = try await storage.verifyBank()
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
                    ("damaged_pages", .array(pages.map { .string($0) })), ("episodes", .integer(bank.episodes)),
                    ("skills", .integer(bank.skills)), ("bank_faults", .array(bank.faults.map { .string($0) })),
                ]).text + "\n")
        case .text:
            console.write(
                "\(result.users) users, \(result.entries) updates in the journal, \(result.unsavedEntries) of them not yet in "
                    + "a saved adapter.\n")
            if bank.episodes > 0 || bank.skills > 0 {
                console.write("A bank of \(bank.episodes) episodes and \(bank.skills) skills.\n")
            }
            for page in pages { console.write("DAMAGED   \(printable(page))\n") }
            for mismatch in result.mismatches {
                console.write("MISMATCH  user \(printable(mismatch.user)): \(printable(mismatch.reason))\n")
            }
            for fault in bank.faults { console.write("BANK      \(printable(fault))\n") }
            if result.mismatches.isEmpty, pages.isEmpty, bank.faults.isEmpty {
                console.write("Clean: every page is whole, and every adapter is what its journal gives.\n")
            }
        }
        if !pages.isEmpty {
            throw CommandFailure(
                .mismatch,
                "The file is damaged: restore a backup. \(result.mismatches.count) of \(result.users) users have a mismatch."
            )
        }
        if !bank.faults.isEmpty {
            throw CommandFailure(
                .mismatch,
                "The bank can't be read: restore a backup. \(result.mismatches.count) of \(result.users) users have a mismatch."
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
