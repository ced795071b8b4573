import Testing

@testable import AttuneCommand

@Suite struct CommandTests {
    @Test func takesEveryOptionOfPersonalizeOver() throws {
        let line = ["data", "--embeddings", "cf", "--rank=4", "-o", "out", "--format", "json", "--no-progress"]
        let command = try PersonalizeCommand(#require(try parse(line, for: PersonalizeCommand.self)))
        #expect(command.source == .folder("data", embeddings: "cf"))
        #expect(command.rank == 4)
        #expect(command.output == "out")
        #expect(command.format == .json)
        #expect(!command.showsProgress)
    }

    @Test func givesPersonalizeItsDefaults() throws {
        let command = try PersonalizeCommand(#require(try parse(["--synthetic"], for: PersonalizeCommand.self)))
        #expect(command.source == .synthetic())
        #expect(command.rank == nil)
        #expect(command.output == nil)
        #expect(command.format == .text)
        #expect(command.showsProgress)
    }

    @Test func takesEveryOptionOfEvaluateOver() throws {
        let line = [
            "--synthetic", "--rank", "256", "--query", "profile", "--methods", "cold,none", "--seeds", "9", "--report",
            "r.html", "--format=json",
        ]
        let command = try EvaluateCommand(#require(try parse(line, for: EvaluateCommand.self)))
        #expect(command.source == .synthetic())
        #expect(command.rank == 256)
        #expect(command.query == .profile)
        #expect(command.methods == ["cold", "none"])
        #expect(command.seeds == 9)
        #expect(command.report == "r.html")
        #expect(command.format == .json)
    }

    @Test func givesEvaluateItsDefaults() throws {
        let command = try EvaluateCommand(#require(try parse(["data"], for: EvaluateCommand.self)))
        #expect(command.source == .folder("data", embeddings: nil))
        #expect(command.query == .last)
        #expect(command.methods == EvaluateCommand.methodNames)
        #expect(command.seeds == 5)
        #expect(command.report == nil)
    }

    @Test func takesTheFileOfInspectOver() throws {
        let command = try InspectCommand(#require(try parse(["--", "-a"], for: InspectCommand.self)))
        #expect(command.adapter == "-a")
    }

    @Test(arguments: ["personalize", "evaluate"])
    func refusesAnEmbeddingsFileForTheSyntheticPopulation(_ command: String) async {
        let transcript = await attune(command, "--synthetic", "--embeddings", "cf")
        #expect(transcript.code == .usage)
        #expect(transcript.errors.contains("the synthetic population has its own embeddings"))
    }
}

@Suite struct AppTests {
    @Test(arguments: ["help", "--help", "-h"])
    func printsTheOverviewOnRequest(_ word: String) async {
        let transcript = await attune(word)
        #expect(transcript.code == .success)
        #expect(transcript.output == HelpText.root(commands: App.specifications))
        #expect(transcript.errors.isEmpty)
    }

    @Test(arguments: App.commands.map { $0.specification.name })
    func printsTheHelpOfACommandHoweverItIsAskedFor(_ name: String) async {
        let help = await attune("help", name)
        #expect(help.code == .success)
        #expect(help.output.hasPrefix("OVERVIEW: "))
        for line in [await attune(name, "--help"), await attune(name, "-h", "--nonsense")] {
            #expect(line.code == .success)
            #expect(line.output == help.output)
            #expect(line.errors.isEmpty)
        }
    }

    @Test func printsTheVersion() async {
        let transcript = await attune("--version")
        #expect(transcript.code == .success)
        #expect(transcript.output == "attune \(App.version)\n")
    }

    @Test func refusesWhatItDoesNotKnowWithCode64AndSaysWhatWasMeant() async {
        let none = await attune()
        #expect(none.code == .usage && none.errors.hasPrefix("Error: no command given.\nUsage: attune COMMAND"))
        let command = await attune("evalute", "data")
        #expect(command.code == .usage && command.errors.contains("'evalute'. Did you mean 'evaluate'?"))
        let helped = await attune("help", "inspct")
        #expect(helped.code == .usage && helped.errors.contains("Did you mean 'inspect'?"))
        let option = await attune("--verison")
        #expect(option.code == .usage && option.errors.contains("Did you mean '--version'?"))
        let many = await attune("help", "config", "inspect")
        #expect(many.code == .usage)
        let trailing = await attune("--version", "x")
        #expect(trailing.code == .usage)
        let nested = await attune("config", "--fromat", "json")
        #expect(nested.code == .usage)
        #expect(nested.errors.contains("Did you mean '--format'?"))
        #expect(nested.errors.contains("Usage: attune config [--format FORMAT]\n  See 'attune help config'"))
        for transcript in [none, command, helped, option, many, trailing, nested] {
            #expect(transcript.output.isEmpty)
        }
    }

    @Test func endsQuietlyAndWellWhenTheReaderClosesThePipe() async {
        let transcript = await attune("help", outputFailure: .closed)
        #expect(transcript.code == .success)
        #expect(transcript.errors.isEmpty)
    }

    @Test func reportsOutputThatCannotBeWrittenWithCode74() async {
        let transcript = await attune("help", outputFailure: .failed("No space left on device"))
        #expect(transcript.code == .ioError)
        #expect(transcript.errors == "Error: can't write to standard output: No space left on device.\n")
    }

    @Test func keepsTheCodeThatAFailureCarries() {
        struct Unforeseen: Error {}
        #expect(ExitCode(for: CommandFailure(.badData, "x")) == .badData)
        #expect(ExitCode(for: UsageError("x", command: nil)) == .usage)
        #expect(ExitCode(for: Unforeseen()) == .internalError)
        #expect(ExitCode.allCases.map(\.rawValue) == [0, 1, 64, 65, 66, 70, 73, 74])
    }
}
