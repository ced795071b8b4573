import Attune

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// `attune import`: an adapter from a file becomes a user's.
struct ImportCommand: Command {
    /// What is read.
    enum Kind: String, CaseIterable {
        case attune
        case peft
    }

    let file: String
    let project: String
    let user: String
    let source: String
    /// `nil`: a folder is PEFT's, a file Attune's.
    let kind: Kind?
    let embeddingModel: String?
    let module: String?
    let replaces: Bool
    let readmits: Bool
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "import",
        abstract: "Make an adapter from a file a user's in a storage file.",
        discussion: [
            "Reads an adapter file (.safetensors), as 'attune export' and 'attune personalize --output' write them, or a "
                + "folder of HuggingFace PEFT. The storage file is made where there is none. What the adapter learns from "
                + "here on is recorded; what it learned before isn't in the file.",
            "A user who is there already is refused, unless --replace is given: their adapter, their updates and the ids by "
                + "which feedback is known then go, and the new adapter's version is above the old one's. Nobody else may "
                + "have the file open for writing.",
        ],
        arguments: [.storageFile],
        options: [
            .user,
            .value("from", "PATH", .path(suffix: nil), help: "The adapter file, or the folder of PEFT."),
            .value(
                "as", "KIND", .choice(Kind.allCases.map(\.rawValue)),
                help: "What PATH is; without it a folder is PEFT's."),
            .value(
                "embedding-model", "NAME", .path(suffix: nil),
                help: "With PEFT: the model whose embeddings the adapter is for. An adapter file says it itself."),
            .value(
                "module", "NAME", .path(suffix: nil),
                help: "With PEFT: the module to read, where the folder has several."),
            .flag("replace", help: "Replace the user's adapter and drop their updates, where there are any."),
            .flag("readmit", help: "Take the user in although they were forgotten."),
            .project, .format,
        ],
        examples: [
            .init(
                line: "attune import attune.db --user 42 --from 42.safetensors",
                explanation: "The adapter becomes user 42's."),
            .init(
                line: "attune import attune.db --user 42 --from lora/ --embedding-model minilm",
                explanation: "The same from PEFT, whose files name no such model."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        user = try arguments.user("whose adapter it becomes", for: Self.specification)
        guard let source = arguments.text("from") else {
            throw UsageError("'--from' is missing: what to read.", command: Self.specification.name)
        }
        self.source = source
        kind = arguments.text("as").flatMap(Kind.init)
        embeddingModel = arguments.text("embedding-model")
        module = arguments.text("module")
        replaces = arguments.flag("replace")
        readmits = arguments.flag("readmit")
        format = arguments.format
        if let embeddingModel, embeddingModel.utf8.count > 1024 {
            throw UsageError(
                "'--embedding-model' has \(embeddingModel.utf8.count) bytes; at most 1024 are allowed.",
                command: Self.specification.name)
        }
    }

    func run(_ console: Console) async throws {
        // All of the adapter is read and checked before the storage file is made or opened.
        let (read, kind) = try readAdapter()
        let storage = try await SQLiteStorage(path: file, project: project)
        let held = try await storage.highestVersion(of: user)
        if let held, !replaces {
            throw CommandFailure(
                .badData,
                "\(printable(file)) has the user \(quoted(user)) already, with version \(held): give '--replace' to "
                    + "replace their adapter and drop their updates")
        }
        if !readmits, try await storage.isForgotten(user) {
            throw CommandFailure(
                .badData, "the user \(quoted(user)) was forgotten: give '--readmit' if they are to be known again")
        }
        var record = StoredAdapter(
            user: user, embeddingModel: read.embeddingModel, adapter: read.adapter, isJournalled: true)
        // An adapter of version 0 without steps is taken for one that nobody taught yet: a bank may give it another start.
        if record.adapter.version == 0, record.adapter.steps == 0, record.adapter.hasLearned {
            record.adapter.version = 1
        }
        if let held, held >= record.adapter.version {
            record.adapter.version = held &+ 1
        }
        guard record.adapter.version < Self.versionLimit else {
            throw CommandFailure(
                .badData,
                "version \(record.adapter.version) leaves too few above it: the number in \(printable(source)) or "
                    + "\(printable(file)) is damaged")
        }
        let removed = try await storage.replace(with: record, keepsFeedbackIDs: false, readmits: readmits)
        await storage.close()
        let shape = record.adapter.shape
        let facts: [(String, JSONText)] = [
            ("user", .string(user)), ("kind", .string(kind.rawValue)),
            ("written_for_user", read.user.map { .string($0) } ?? .null),
            ("embedding_model", .string(record.embeddingModel)), ("dimension", .integer(shape.dimension)),
            ("rank", .integer(shape.rank)), ("version_before", held.map { .string("\($0)") } ?? .null),
            ("version", .string("\(record.adapter.version)")), ("removed_entries", .integer(removed)),
        ]
        switch format {
        case .json: console.write(JSONText.object(facts).text + "\n")
        case .text:
            var table = TextTable()
            for (name, value) in facts { table.add([name, TextTable.plain(value)]) }
            console.write(table.text)
        }
    }

    /// Versions stay below 2⁶²: half of them are left for what comes.
    private static let versionLimit: UInt64 = 1 << 61

    private struct Read {
        /// Whom an adapter file names.
        var user: String?
        var embeddingModel: String
        var adapter: LoRAAdapter
    }

    private func readAdapter() throws -> (Read, Kind) {
        var information = stat()
        let isFolder = unsafe stat(source, &information) == 0 && (information.st_mode & S_IFMT) == S_IFDIR
        switch kind ?? (isFolder ? .peft : .attune) {
        case .attune:
            guard module == nil else {
                throw UsageError("'--module' is for PEFT; an adapter file has one.", command: Self.specification.name)
            }
            let record = try AdapterFile.read(source)
            if let embeddingModel, embeddingModel != record.embeddingModel {
                throw CommandFailure(
                    .badData,
                    "\(printable(source)) is for the embedding model \(quoted(record.embeddingModel)), not "
                        + "\(quoted(embeddingModel)): leave '--embedding-model' out, and migrate the user afterwards")
            }
            guard !record.embeddingModel.isEmpty, record.embeddingModel.utf8.count <= 1024 else {
                throw CommandFailure(
                    .badData, "\(printable(source)): the embedding model's name is empty or longer than 1024 bytes")
            }
            return (
                Read(user: record.user, embeddingModel: record.embeddingModel, adapter: record.adapter), .attune
            )
        case .peft:
            guard let embeddingModel else {
                throw UsageError(
                    "'--embedding-model' is missing: PEFT's files don't say whose embeddings the adapter is for.",
                    command: Self.specification.name)
            }
            let adapter = try PEFTAdapter.read(
                source, module: module, identity: AdapterIdentity(seed: Self.seed, user: user))
            return (Read(user: nil, embeddingModel: embeddingModel, adapter: adapter), .peft)
        }
    }

    /// The engine's default.
    private static let seed: UInt64 = 0
}

extension LoRAAdapter {
    /// Whether the map is another one than the identity that a cold start gives.
    fileprivate var hasLearned: Bool { productNorm > 0 || (bias ?? []).contains { $0 != 0 } }
}
