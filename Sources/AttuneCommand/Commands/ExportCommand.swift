import Attune
import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// `attune export`: what a storage file has of one user, as a file for elsewhere.
struct ExportCommand: Command {
    /// What is written.
    enum Kind: String, CaseIterable {
        case attune
        case peft
        case json
    }

    let file: String
    let project: String
    let user: String
    let destination: String
    let kind: Kind
    let precision: AdapterPrecision
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "export",
        abstract: "Write a user's adapter, or all that is known of a user, to a new file.",
        discussion: [
            "The adapter is the one that the user has now: the saved one with the updates that it hasn't seen. The storage "
                + "file isn't changed, and may be in use.",
            "--as attune writes an adapter file (.safetensors), which 'attune import' reads again; as float32 it goes on "
                + "learning to the bit as it would have here. Less precision rounds the numbers, prints what that cost and "
                + "drops the optimizer's memory. --as peft writes a folder for HuggingFace PEFT. --as json writes "
                + "everything that is known of the user, for somebody who asks what is kept about them.",
            "What is written holds personal data: its owner alone may read it. It appears whole or not at all, where nothing "
                + "is yet.",
        ],
        arguments: [.storageFile],
        options: [
            .user,
            .value("to", "PATH", .path(suffix: nil), help: "The new file, or with --as peft the new folder."),
            .value(
                "as", "KIND", .choice(Kind.allCases.map(\.rawValue)), default: Kind.attune.rawValue,
                help: "What to write."),
            .value(
                "precision", "P", .choice(AdapterPrecision.allCases.map(\.rawValue)),
                default: AdapterPrecision.float32.rawValue, help: "With --as attune: how exactly numbers are kept."),
            .project, .format,
        ],
        examples: [
            .init(
                line: "attune export attune.db --user 42 --to 42.safetensors",
                explanation: "User 42's adapter, to the bit."),
            .init(
                line: "attune export attune.db --user 42 --as json --to 42.json",
                explanation: "All that is known of user 42."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        user = try arguments.user("whom to export", for: Self.specification)
        guard let destination = arguments.text("to") else {
            throw UsageError("'--to' is missing: where to write.", command: Self.specification.name)
        }
        self.destination = destination
        guard let kind = arguments.text("as").flatMap(Kind.init),
            let precision = arguments.text("precision").flatMap(AdapterPrecision.init)
        else { preconditionFailure("--as or --precision isn't declared") }
        if kind != .attune, arguments.given.contains("precision") {
            throw UsageError(
                "'--precision' is for '--as attune'; '--as \(kind.rawValue)' writes numbers as they are.",
                command: Self.specification.name)
        }
        self.kind = kind
        self.precision = precision
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let record = try await storage.existing(user)
        let reader = JournalReader(storage)
        let current = try await reader.current(record)
        var document: String?
        if kind == .json {
            let derived = try await storage.priors(from: user)
            let starts = try await storage.priors(startedFromBy: user)
            document = try await UserDocument(
                project: project, record: record, current: current, derived: derived,
                episodes: try await storage.bankEpisodes(of: storage.bankKey.digest(of: user)), starts: starts
            ).text(reader)
        }
        await storage.close()
        try requireNewOutput(destination)
        var facts: [(String, JSONText)] = [
            ("user", .string(user)), ("kind", .string(kind.rawValue)), ("path", .string(destination)),
            ("version", .string("\(current.adapter.version)")),
            ("replayed_entries", .integer(record.unsavedEntries.count)),
        ]
        do throws(TensorFileError) {
            switch kind {
            case .attune: facts += try writeAdapter(current)
            case .peft: try writePEFT(current)
            case .json:
                let bytes = Array((document ?? "").utf8)
                try AtomicFile.write(to: destination, isPrivate: true) { file throws(TensorFileError) in
                    try file.append(bytes)
                }
                facts += [("entries", .integer(record.entries.count)), ("bytes", .integer(bytes.count))]
            }
        } catch {
            throw CommandFailure(
                error.code == .inputOutput ? .ioError : .badData, "can't export the user: \(error)")
        }
        switch format {
        case .json: console.write(JSONText.object(facts).text + "\n")
        case .text:
            var table = TextTable()
            for (name, value) in facts { table.add([name, TextTable.plain(value)]) }
            console.write(table.text)
        }
    }

    private func writeAdapter(_ record: StoredAdapter) throws(TensorFileError) -> [(String, JSONText)] {
        let keepsState = precision == .float32
        let loss = try AdapterFile.write(
            record, to: destination, precision: precision, keepsState: keepsState, isPrivate: true)
        func errors(_ name: String, _ errors: PrecisionLoss.Errors) -> [(String, JSONText)] {
            [
                ("\(name)_largest_error", .number(errors.largest)),
                ("\(name)_root_mean_square_error", .number(errors.rootMeanSquare)),
            ]
        }
        return [
            ("precision", .string(precision.rawValue)),
            ("keeps_state", .bool(keepsState || !record.adapter.hasState)),
        ] + errors("parameters", loss.parameters) + errors("outputs", loss.outputs) + errors("changes", loss.changes)
    }

    /// The folder is made here, so that it can go again when writing fails.
    private func writePEFT(_ record: StoredAdapter) throws(TensorFileError) {
        guard unsafe mkdir(destination, 0o700) == 0 else {
            throw TensorFileError(
                .inputOutput, path: destination,
                "the folder can't be made: \(unsafe String(cString: strerror(errno)))")
        }
        do throws(TensorFileError) {
            try PEFTAdapter.write(
                record.adapter, to: destination, baseModel: record.embeddingModel, isPrivate: true)
        } catch {
            for name in ["adapter_model.safetensors", "adapter_config.json"] { unsafe unlink("\(destination)/\(name)") }
            unsafe rmdir(destination)
            throw error
        }
    }
}
