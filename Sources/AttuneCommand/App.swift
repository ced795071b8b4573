#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The command line as a whole: picks the command, parses its arguments, runs it, and turns what happens into output
/// and an exit code.
struct App: Sendable {
    /// What `attune --version` prints.
    static let version = "0.1.0-dev"

    /// Every command, in the order of the help text.
    static let commands: [any Command.Type] = [
        PersonalizeCommand.self, EvaluateCommand.self, ConvergenceCommand.self, CompareCommand.self,
        ConsolidateCommand.self,
        BankDemoCommand.self,
        BankStatsCommand.self, BankEpisodesCommand.self, BankSkillsCommand.self, BankSimilarCommand.self,
        BankStrategyCommand.self,
        RecordStatusCommand.self, RecordSessionsCommand.self, RecordShowCommand.self, RecordExportCommand.self,
        DataListCommand<ListedEvents>.self, DataListCommand<ListedTasks>.self, DataListCommand<ListedTools>.self,
        DataListCommand<ListedWorkflows>.self, DataExportCommand.self, DataImportCommand.self, DataRetainCommand.self,
        DataEraseCommand.self,
        BenchCommand.self, ConfigCommand.self,
        InspectCommand.self, UsersCommand.self, ShowCommand.self, ExportCommand.self, ImportCommand.self,
        MigrateCommand.self, ForgetCommand.self, RetainCommand.self, VerifyCommand.self, BackupCommand.self,
        CompactCommand.self,
    ]

    /// Looks up an environment variable; passed in so that a test can supply its own.
    let environment: @Sendable (String) -> String?
    let console: Console

    /// Runs the process's own arguments and ends the process with their exit code.
    static func run() async -> Never {
        holdStandardDescriptors()
        // A reader that goes away (`| head`) must show as EPIPE on the write, not kill a job half-way.
        _ = signal(SIGPIPE, SIG_IGN)
        let environment: @Sendable (String) -> String? = { name in
            guard let value = unsafe getenv(name) else { return nil }
            return unsafe String(cString: value)
        }
        FittingBLAS.startAgainIfNeeded(environment(FittingBLAS.replacedVariable))
        let app = App(environment: environment, console: .standard())
        let code = await app.execute(bytes: ownArguments())
        exit(code.rawValue)
    }

    /// The process's arguments without the program's name, to the byte: Swift's own list has U+FFFD where bytes are not UTF-8.
    private static func ownArguments() -> [[UInt8]] {
        (1..<max(1, Int(CommandLine.argc))).compactMap { i in
            unsafe CommandLine.unsafeArgv[i].map { word in
                unsafe Array(UnsafeRawBufferPointer(start: word, count: strlen(word)))
            }
        }
    }

    /// Keeps descriptors 0 to 2 from being given to the next file that is opened, which would then receive what is
    /// printed. Opened for reading only, so that writing to a closed standard output is still an error.
    private static func holdStandardDescriptors() {
        for descriptor in Int32(0)...2 where fcntl(descriptor, F_GETFD) == -1 {
            _ = unsafe open("/dev/null", O_RDONLY)
        }
    }

    /// Runs one command line as the system hands it over. One that isn't UTF-8 throughout is refused: with its bytes replaced it
    /// could name another user, or another file.
    func execute(bytes words: [[UInt8]]) async -> ExitCode {
        var arguments: [String] = []
        for word in words {
            guard let argument = String(validating: word, as: UTF8.self) else {
                let shown = quoted(String(decoding: word, as: UTF8.self))
                return report(UsageError("the argument \(shown) is not well-formed UTF-8.", command: nil))
            }
            arguments.append(argument)
        }
        return await execute(arguments)
    }

    /// Runs one command line (without the program's name) and returns its exit code.
    func execute(_ arguments: [String]) async -> ExitCode {
        var code = ExitCode.success
        do {
            try await dispatch(arguments)
        } catch {
            console.endProgress()
            code = report(error)
        }
        return console.failure.map(report(outputFailure:)) ?? code
    }

    private func dispatch(_ arguments: [String]) async throws {
        guard let first = arguments.first else {
            throw UsageError("no command given.", command: nil)
        }
        var rest = Array(arguments.dropFirst())
        switch first {
        case "-h", "--help":
            console.write(HelpText.root(commands: Self.specifications))
        case "help":
            try help(rest)
        case "--version":
            guard rest.isEmpty else {
                throw UsageError("'--version' takes nothing after it.", command: nil)
            }
            console.write("attune \(Self.version)\n")
        default:
            let group = Self.group(first)
            if !group.isEmpty, ["-h", "--help"].contains(rest.first) {
                console.write(HelpText.group(first, commands: group))
                return
            }
            let command = try Self.command(named: first, rest.first)
            if !group.isEmpty { rest.removeFirst() }
            let parser = ArgumentParser(specification: command.specification, environment: environment)
            switch try parser.parse(rest) {
            case .help: console.write(HelpText.command(command.specification))
            case .arguments(let parsed): try await command.init(parsed).run(console)
            }
        }
    }

    /// `attune help [COMMAND]`.
    private func help(_ arguments: [String]) throws {
        let group = arguments.first.map(Self.group) ?? []
        guard arguments.count <= (group.isEmpty ? 1 : 2) else {
            throw UsageError("'attune help' takes one command, not \(arguments.count).", command: nil)
        }
        if let first = arguments.first, arguments.count == 1, !group.isEmpty {
            console.write(HelpText.group(first, commands: group))
            return
        }
        guard let name = arguments.first, name != "help", name != "--help", name != "-h" else {
            console.write(HelpText.root(commands: Self.specifications))
            return
        }
        console.write(HelpText.command(try Self.command(named: name, arguments.dropFirst().first).specification))
    }

    static var specifications: [CommandSpecification] { commands.map { $0.specification } }

    /// The commands that are called by this word and another one; none where it is a command itself, or nothing.
    private static func group(_ name: String) -> [CommandSpecification] {
        specifications.filter { $0.name.hasPrefix(name + " ") }
    }

    private static func command(named name: String, _ second: String?) throws -> any Command.Type {
        let group = group(name)
        if !group.isEmpty {
            let words = group.map { String($0.name.dropFirst(name.count + 1)) }
            let known = "'attune \(name)' knows \(words.joined(separator: ", "))"
            guard let second else { throw UsageError("\(known): say which.", command: nil) }
            if let command = commands.first(where: { $0.specification.name == "\(name) \(second)" }) { return command }
            throw UsageError("\(known), not \(quoted(second)).\(suggestion(for: second, among: words))", command: nil)
        }
        if let command = commands.first(where: { $0.specification.name == name }) { return command }
        if name.hasPrefix("-") {
            throw UsageError(
                "unknown option \(quoted(name)).\(suggestion(for: name, among: ["--help", "--version"]))", command: nil)
        }
        let names = Set(specifications.map { $0.name.prefix { $0 != " " } }.map(String.init)).sorted() + ["help"]
        throw UsageError("unknown command \(quoted(name)).\(suggestion(for: name, among: names))", command: nil)
    }

    private func report(_ error: any Error) -> ExitCode {
        let code = ExitCode(for: error)
        switch error {
        case let usage as UsageError: console.writeError(HelpText.usageError(usage, commands: Self.specifications))
        default:
            let kind = code == .internalError ? "Internal error" : "Error"
            console.writeError("\(kind): \(printable(explanation(of: error), except: ["\n"]))\n")
        }
        return code
    }

    private func report(outputFailure: OutputFailure) -> ExitCode {
        switch outputFailure {
        case .closed:
            // The reader has what it wanted; the job itself went to its end.
            return .success
        case .failed(let reason):
            console.writeError("Error: can't write to standard output: \(reason).\n")
            return .ioError
        }
    }
}
