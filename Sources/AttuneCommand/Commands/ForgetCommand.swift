import Attune

/// `attune forget`: a user, or one of their updates.
struct ForgetCommand: Command {
    let file: String
    let project: String
    let user: String
    let feedback: FeedbackID?
    let replaysStarters: Bool
    /// A folder of files of records that is reached too.
    let recordFiles: String?
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
                + "them. They are listed, with the users who have started from them and have an adapter still, and so are those that "
                + "were stale before and have such users. With "
                + "--replay-starters those users' adapters are made again: from what the file's bank has made in the place of "
                + "the prior, else from nothing, with all that they learned themselves.",
            "Nobody else may have the file open for writing. While somebody reads it bytes may stay in its log: 'erased' is "
                + "false then, and 'attune compact' removes them later. In the file's bank the user's episodes go, and skills and "
                + "starts that they gave to are made again without them, and from the file's records of model calls the contents go that "
                + "are about them. A bank elsewhere isn't reached, nor files of records: 'attune data erase' reaches those.",
        ],
        arguments: [.storageFile],
        options: [
            .user,
            .value(
                "feedback", "ID", .text("the id of an update"),
                help: "The update's id: 32 hexadecimal digits, or the name that the application gave it."),
            .flag(
                "replay-starters",
                help: "Make the adapters of users again who started from a prior that has become stale."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune forget attune.db --user 42", explanation: "All of user 42."),
            .init(
                line: "attune forget attune.db --user 42 --feedback order-1234",
                explanation: "What was learned from one event."),
            .init(
                line: "attune forget attune.db --user 42 --replay-starters",
                explanation: "All of user 42, also where others had started from what they gave to."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    /// For a whole user, with files of records.
    init(
        file: String, project: String, user: String, replaysStarters: Bool, recordFiles: String?, format: OutputFormat,
        showsProgress: Bool
    ) {
        (self.file, self.project, self.user, feedback) = (file, project, user, nil)
        (self.replaysStarters, self.recordFiles) = (replaysStarters, recordFiles)
        (self.format, self.showsProgress) = (format, showsProgress)
    }

    init(_ arguments: ParsedArguments) throws(UsageError) {
        recordFiles = nil
        file = arguments.storageFile
        project = arguments.project
        user = try arguments.user("whom to forget", for: Self.specification)
        feedback = arguments.text("feedback").map { FeedbackID(hexadecimal: $0) ?? FeedbackID($0) }
        replaysStarters = arguments.flag("replay-starters")
        if replaysStarters, feedback != nil {
            throw UsageError(
                "'--replay-starters' goes with a whole user, not with '--feedback'.",
                command: Self.specification.name)
        }
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        // A folder that is not there would be one without anything of theirs.
        if let recordFiles, !isFolder(recordFiles) {
            throw CommandFailure(.noInput, "There is no folder at \(printable(recordFiles)). Nothing was erased.")
        }
        let storage = try await existingProject(project, in: file, access: .writing)
        var facts: [(String, JSONText)]
        var stale: [StalePrior]
        let isErased: Bool
        var replay = StarterReplay()
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
            let records = try await eraseRecords(storage)
            let files = try await recordFiles.map { RecordFiles(folder: $0) }?.erase(user)
            if records != RecordErasure() || files ?? 0 > 0 { isKnown = true }
            let bank: ForgettingReport
            do {
                bank = try await forgetInBank(storage, console)
                // With what was stale before, as a run before may have left it; a start that was made again to the same bytes is fit.
                stale = try await Self.unfit(stale, storage)
                if replaysStarters {
                    replay = try await replayed(try await storage.stalePriors(), bank, storage, console)
                    let done = Set(replay.replayed)
                    for i in stale.indices { stale[i].users.removeAll(where: done.contains) }
                }
            } catch let error where !(error is CancellationError) {
                throw try await failure(error, entries, storage)
            }
            if bank.episodes > 0 { isKnown = true }
            isErased = try await Self.erase(storage)
            facts = [
                ("user", .string(user)), ("had_saved_adapter", .bool(hadAdapter)),
                ("removed_entries", .integer(entries)), ("removed_contents", .integer(records.contents)),
                ("changed_records", .integer(records.spans)), ("removed_messages", .integer(records.messages)),
                ("changed_scores", .integer(records.scores)), ("removed_embeddings", .integer(records.embeddings)),
                ("changed_workflows", .integer(records.workflows)),
                ("removed_episodes", .integer(bank.episodes)),
                ("skills_made_again", .integer(bank.rederived.count)), ("skills_retired", .integer(bank.retired.count)),
            ]
            if replaysStarters {
                facts.append(("adapters_made_again", .integer(replay.replayed.count)))
                facts.append(("made_again_from_nothing", .integer(replay.fromNothing.count)))
            }
            if let files { facts.append(("removed_files", .integer(files))) }
            facts.append(("erased", .bool(isErased)))
        }
        await storage.close()
        switch format {
        case .json:
            let priors = stale.map { prior in
                JSONText.object([
                    ("prior", .string(fixedHex(prior.hash))), ("users", .array(prior.users.map { .string($0) })),
                ])
            }
            facts.append(("stale_priors", .array(priors)))
            if replaysStarters {
                facts.append(("made_again", .array(replay.replayed.map { .string($0) })))
                facts.append(
                    (
                        "not_made_again",
                        .array(
                            replay.left.map { error in
                                .object([
                                    ("user", error.user.map { .string($0) } ?? .null),
                                    ("reason", .string(error.message)),
                                ])
                            })
                    ))
            }
            console.write(JSONText.object(facts).text + "\n")
        case .text:
            var table = TextTable()
            for (name, value) in facts { table.add([name, TextTable.plain(value)]) }
            table.add(["stale_priors", "\(stale.count)"])
            console.write(table.text + stale.map { line($0) }.joined())
        }
        if !replay.fromNothing.isEmpty {
            console.writeError(
                "Warning: \(replay.fromNothing.count) adapters were made again from nothing, since the file's bank has no start in "
                    + "the place of the one that they had: it made none, or a forgetting before this one was interrupted.\n"
            )
        }
        for error in replay.left.prefix(Self.mostNamed) {
            console.writeError(
                "Warning: the adapter of \(quoted(error.user ?? "")) is as it was: \(error.message)\n")
        }
        if replay.left.count > Self.mostNamed {
            console.writeError(
                "Warning: so are \(replay.left.count - Self.mostNamed) more; --format json names them.\n")
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

    /// What is left to say where the user is gone and the bank, or those who started from them, cannot be reached.
    private func failure(_ error: any Error, _ entries: Int, _ storage: SQLiteStorage) async throws -> CommandFailure {
        var text =
            "The adapter and \(entries) updates of the user \(quoted(user)) are gone, and later ones are refused. What others have of "
            + "them in the file's bank could not be reached: \(error)."
        do {
            let episodes = try await storage.removeBankEpisodes(of: storage.bankKey.digest(of: user))
            text += " Of their episodes there \(episodes) more were removed."
            if try await !Self.erase(storage) {
                text += " Bytes are in the file's log still, because somebody reads the file."
            }
        } catch {
            text += " Their episodes there could not be removed: \(error)."
        }
        text += " A backup holds the user still: mend the file, and give the command again."
        return CommandFailure(ExitCode(for: error), text)
    }

    /// Erases the user in the file's records; what was there of them.
    private func eraseRecords(_ storage: SQLiteStorage) async throws -> RecordErasure {
        guard try await storage.hasRecords() else { return RecordErasure() }
        return try await SQLiteRecordStore(storage).erase(user)
    }

    /// Takes the user out of the file's bank, if it holds anything: what others have of them there is made again without them.
    private func forgetInBank(_ storage: SQLiteStorage, _ console: Console) async throws -> ForgettingReport {
        guard try await storage.hasBank() else { return ForgettingReport() }
        // Without the user, whose tombstone is there already.
        let bank = try await SQLiteReasoningBank.opened(storage, console, showsProgress: showsProgress, forgets: false)
        let donors = try await storage.donors()
        let report = try await bank.forget(storage.bankKey.digest(of: user), donors: donors)
        console.warnOfDamage(donors)
        return report
    }

    /// The priors that are stale: those of the user, for the bank may have made the same again, and those from before from which
    /// somebody has started.
    private static func unfit(_ own: [StalePrior], _ storage: SQLiteStorage) async throws -> [StalePrior] {
        var all: [StalePrior] = []
        for prior in own where try await storage.isStale(prior.hash) { all.append(prior) }
        let known = Set(all.map(\.hash))
        let before = try await storage.stalePriors().filter { !known.contains($0.hash) }
        if before.isEmpty { return all }
        let present = Set(try await storage.users() + storage.journalledUsers())
        all += before.compactMap { prior in
            let users = prior.users.filter(present.contains)
            return users.isEmpty ? nil : StalePrior(hash: prior.hash, users: users)
        }
        return all.sorted { $0.hash < $1.hash }
    }

    /// Makes the adapters of those again who had started from what is stale, each with the settings of their own updates.
    private func replayed(
        _ stale: [StalePrior], _ report: ForgettingReport, _ storage: SQLiteStorage, _ console: Console
    ) async throws -> StarterReplay {
        var result = StarterReplay()
        let users = Set(stale.flatMap(\.users)).sorted()
        if showsProgress { console.beginProgress("making adapters again", total: users.count) }
        defer { console.endProgress() }
        for (i, user) in users.enumerated() {
            try Task.checkCancellation()
            let concerned = stale.filter { $0.users.contains(user) }.map { StalePrior(hash: $0.hash, users: [user]) }
            do {
                let configuration = try await JournalVerification.configuration(of: user, in: storage)
                let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
                let one = try await engine.replayStarters(of: concerned, after: report)
                result.replayed += one.replayed
                result.fromNothing += one.fromNothing
                result.left += one.left
            } catch let error as EngineError where error.user != nil {
                result.left.append(error)
            }
            console.advanceProgress(to: i + 1)
        }
        return result
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

    private func line(_ prior: StalePrior) -> String {
        let start = "Prior \(fixedHex(prior.hash)) is stale. "
        if prior.users.isEmpty {
            return start
                + "No adapter \(replaysStarters ? "" : "that is there ")contains it\(replaysStarters ? " any more" : "").\n"
        }
        let names = prior.users.prefix(Self.mostNamed).map { printable($0) }.joined(separator: ", ")
        let rest = prior.users.count - Self.mostNamed
        return start + "\(prior.users.count) started from it: \(names)\(rest > 0 ? " and \(rest) more" : "").\n"
    }
}
