import TestSupport
import Testing

@testable import AttuneCommand

/// A command with every kind of option, which the real ones don't all have.
private let sample = CommandSpecification(
    name: "sample", abstract: "", discussion: [],
    arguments: [
        PositionalSpecification(name: "IN", help: "", environment: "SAMPLE_IN", alternative: "made-up"),
        PositionalSpecification(name: "OUT", help: ""),
    ],
    options: [
        .flag("made-up", short: "m", help: ""),
        .flag("verbose", short: "v", help: ""),
        .flag("colour", initially: true, help: ""),
        .value("count", short: "n", "N", .integer(-5...5), default: "1", help: ""),
        .value("file", short: "f", "FILE", .path(suffix: nil), help: ""),
        .value("word", "WORD", .text("a word"), help: ""),
        .value("page", "PAGE", .path(suffix: ".html"), help: ""),
        .value("tag", "TAG", .name, help: ""),
        .value("mode", "MODE", .choice(["fast", "exact"]), default: "fast", help: ""),
        .value("parts", "LIST", .list(["one", "two", "three"]), default: "one,two,three", help: ""),
    ],
    examples: [], exitCodes: [])

private func parseSample(_ arguments: [String], environment: [String: String] = [:]) throws(UsageError)
    -> ArgumentParser.Outcome
{
    try ArgumentParser(specification: sample, environment: { environment[$0] }).parse(arguments)
}

private func sampleArguments(_ arguments: [String], environment: [String: String] = [:]) throws -> ParsedArguments {
    guard case .arguments(let parsed) = try parseSample(arguments, environment: environment) else {
        throw UsageError("help was asked for", command: nil)
    }
    return parsed
}

@Suite struct ArgumentParserTests {
    @Test func fillsInDefaultsAndTakesArgumentsByPlace() throws {
        let parsed = try sampleArguments(["a", "b"])
        #expect(parsed.positional("IN") == "a")
        #expect(parsed.positional("OUT") == "b")
        #expect(parsed.integer("count") == 1)
        #expect(parsed.text("file") == nil)
        #expect(parsed.text("mode") == "fast")
        #expect(parsed.list("parts") == ["one", "two", "three"])
        #expect(!parsed.flag("verbose"))
        #expect(parsed.flag("colour"))
        #expect(parsed.given.isEmpty)
    }

    @Test(arguments: [["--count", "3"], ["--count=3"], ["-n", "3"], ["-n=3"], ["-vn", "3"], ["--count", "+3"]])
    func takesAValueInEveryForm(_ option: [String]) throws {
        for line in [option + ["a", "b"], ["a"] + option + ["b"], ["a", "b"] + option] {
            let parsed = try sampleArguments(line)
            #expect(parsed.integer("count") == 3)
            #expect(parsed.positional("OUT") == "b")
            #expect(parsed.given.contains("count"))
        }
    }

    @Test func takesNegativeNumbersAsValues() throws {
        #expect(try sampleArguments(["--count", "-5", "a", "b"]).integer("count") == -5)
        #expect(try sampleArguments(["-n", "-5", "a", "b"]).integer("count") == -5)
    }

    @Test func keepsEverythingAfterTheFirstEqualsSign() throws {
        #expect(try sampleArguments(["--file=a=b", "a", "b"]).text("file") == "a=b")
        #expect(try sampleArguments(["--file=--count", "a", "b"]).text("file") == "--count")
        #expect(try sampleArguments(["-f=-", "a", "b"]).text("file") == "-")
        #expect(try sampleArguments(["-f", "-", "a", "b"]).text("file") == "-")
    }

    @Test func readsFlagsAloneTogetherAndNegated() throws {
        #expect(try sampleArguments(["-v", "a", "b"]).flag("verbose"))
        let both = try sampleArguments(["-vm", "--no-colour", "b"])
        #expect(both.flag("verbose") && both.flag("made-up") && !both.flag("colour"))
        #expect(both.positional("IN") == nil && both.positional("OUT") == "b")
        #expect(try !sampleArguments(["-v", "--no-verbose", "a", "b"]).flag("verbose"))
        #expect(try sampleArguments(["--no-colour", "--colour", "a", "b"]).flag("colour"))
        #expect(try !sampleArguments(["--colour", "--no-colour", "a", "b"]).flag("colour"))
    }

    @Test func takesEverythingAfterTheTerminatorByPlace() throws {
        let parsed = try sampleArguments(["-v", "--", "--count", "--"])
        #expect(parsed.positional("IN") == "--count")
        #expect(parsed.positional("OUT") == "--")
        #expect(parsed.integer("count") == 1)
    }

    @Test func takesTheFirstArgumentFromTheEnvironmentOnlyWhenNoneIsGiven() throws {
        let evaluate = EvaluateCommand.self
        let environment = ["ATTUNE_DATA": "from-environment"]
        #expect(try parse([], for: evaluate, environment: environment)?.positional("DIR") == "from-environment")
        #expect(try parse(["given"], for: evaluate, environment: environment)?.positional("DIR") == "given")
        #expect(try parse(["--synthetic"], for: evaluate, environment: environment)?.positional("DIR") == nil)
        #expect(throws: UsageError.self) { try parse([], for: evaluate, environment: ["ATTUNE_DATA": ""]) }
        #expect(throws: UsageError.self) { try parse([], for: evaluate) }
    }

    @Test(arguments: [
        ["--help"], ["-h"], ["--wrong", "--help"], ["--count", "--help"], ["a", "b", "c", "-h"],
    ])
    func letsHelpWinOverMistakes(_ line: [String]) throws {
        #expect(try parseSample(line) == .help)
    }

    @Test func doesNotSeeHelpBehindTheTerminator() throws {
        let parsed = try sampleArguments(["--", "--help", "-h"])
        #expect(parsed.positional("IN") == "--help")
    }

    @Test(
        arguments: [
            (["--cuont", "3"], "unknown option '--cuont'. Did you mean '--count'?"),
            (["--no-color"], "unknown option '--no-color'. Did you mean '--no-colour'?"),
            (["-count", "3"], "unknown option '-c' in '-count'. Did you mean '--count'?"),
            (["-x"], "unknown option '-x'."),
            (["--=3"], "unknown option '--'."),
            (["---count"], "unknown option '---count'. Did you mean '--count'?"),
            (["--verbose=yes"], "'--verbose' is a flag and takes no value."),
            (["-n3"], "'-n' takes a value: write '-n VALUE' or '-n=VALUE'."),
            (["--count"], "'--count' needs a value: '--count N'."),
            (["--count", "--", "a", "b"], "'--count' needs a value: '--count N'."),
            (
                ["--file", "--verbose"],
                "'--file' needs a value, FILE; '--verbose' looks like an option. "
                    + "A value that begins with '-' is written '--file=VALUE'."
            ),
            (["--count=1", "--count=1"], "'--count' is given twice."),
            (["-n", "1", "--count=1"], "'--count' is given twice."),
            (["--count="], "'--count' needs a whole number from -5 to 5, not ''."),
            (["--count", "6"], "'--count' needs a whole number from -5 to 5, not '6'."),
            (["--count", "1.0"], "'--count' needs a whole number from -5 to 5, not '1.0'."),
            (["--count", " 1"], "'--count' needs a whole number from -5 to 5, not ' 1'."),
            (["--count", "１"], "'--count' needs a whole number from -5 to 5, not '１'."),
            (
                ["--count", "99999999999999999999"],
                "'--count' needs a whole number from -5 to 5, not '99999999999999999999'."
            ),
            (["--mode", "exakt"], "'--mode' is one of fast, exact; 'exakt' isn't. Did you mean 'exact'?"),
            (["--mode="], "'--mode' is one of fast, exact; '' isn't."),
            (
                ["--parts", "one,tow"],
                "'--parts' takes one,two,three or some of them; 'tow' isn't one. Did you mean 'two'?"
            ),
            (["--parts", "one,"], "'--parts' takes one,two,three or some of them; '' isn't one."),
            (["--parts", "two,one,two"], "'--parts' names 'two' twice."),
            (["--file="], "'--file' needs a path, not an empty text."),
            (["--word="], "'--word' needs a word, not an empty text."),
            (["--page", "a.txt"], "'--page' needs a file name that ends in '.html', not 'a.txt'."),
            (["--page", "a/.html"], "'--page' needs a file name that ends in '.html', not 'a/.html'."),
            (["--tag", "../x"], "'--tag' needs a name of letters, digits, '.', '_' and '-', not '../x'."),
            (["--tag", ".x"], "'--tag' needs a name of letters, digits, '.', '_' and '-', not '.x'."),
            (["a"], "OUT is missing."),
            (
                [], "IN is missing: give it, or '--made-up', or set SAMPLE_IN in the environment."
            ),
            (["a", "b", "c"], "'c' is one argument too many."),
            (["", "b"], "IN is empty."),
            (["-m", "a", "b"], "give IN or '--made-up', not both."),
        ] as [([String], String)])
    func explainsWhatIsWrong(_ line: [String], _ message: String) {
        #expect(throws: UsageError(message, command: "sample")) { try parseSample(line) }
    }
}

@Suite struct HostileArgumentTests {
    @Test func showsControlCharactersInsteadOfSendingThemToTheTerminal() {
        let error = #expect(throws: UsageError.self) { try parseSample(["--\u{1B}[2J\u{7}\u{202E}x\n"]) }
        let message = error?.message ?? ""
        #expect(message.contains("\\u{"))
        #expect(!message.unicodeScalars.contains { $0.value < 0x20 || $0 == "\u{202E}" })
    }

    @Test(.timeLimit(.minutes(10)))
    func staysFastAndBriefOnEnormousArguments() {
        let long = String(repeating: "a", count: 1_000_000)
        for line in [["--\(long)"], ["--count=\(long)"], ["--parts=\(long)"], ["a", "b", long], ["-\(long)"]] {
            let error = #expect(throws: UsageError.self) { try parseSample(line) }
            #expect((error?.message.utf8.count ?? .max) < 400)
        }
        let many = Array(repeating: "-v", count: 100_000)
        #expect(throws: Never.self) { try parseSample(many + ["a", "b"]) }
        #expect(throws: UsageError.self) { try parseSample(Array(repeating: "x", count: 100_000)) }
    }

    /// Random lines made of pieces that mean something: each gives a result or a message, and a result obeys its rules.
    @Test func neverTrapsOnAnyMixOfPieces() {
        let pieces = [
            "", "-", "--", "---", "=", "--=", "-=", "--count", "--count=", "--count=2", "-n", "-n=", "-n2", "-v", "-vm",
            "-vn", "--no-", "--no-colour", "--no-colour=1", "--colour", "--made-up", "--page", "a.html", "3", "-3",
            "-9",
            "fast", "one,two", ",", "é", "e\u{301}", "\u{0}", "👩‍👩‍👧", "-é", "--é=1", "--tag", "--file", "\r\n", "--\r\n",
        ]
        var state: UInt64 = 0x9E37_79B9_7F4A_7C15
        func next(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }
        var accepted = 0
        for _ in 0..<underSanitizer(5_000, otherwise: 50_000) {
            let line = (0..<next(7)).map { _ in pieces[next(pieces.count)] }
            do throws(UsageError) {
                guard case .arguments(let parsed) = try parseSample(line) else { continue }
                accepted += 1
                #expect((-5...5).contains(parsed.integer("count")))
                #expect((parsed.positional("IN") == nil) == parsed.flag("made-up"))
                #expect(parsed.positional("OUT")?.isEmpty == false)
            } catch {
                #expect(!error.message.isEmpty)
            }
        }
        #expect(accepted > 100)
    }
}

@Suite struct SuggestionTests {
    @Test(
        arguments: [
            ("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("rank", "rnak", 1), ("ca", "abc", 3),
        ] as [(String, String, Int)])
    func countsEditsAndSwaps(_ first: String, _ second: String, _ distance: Int) {
        #expect(editDistance(Array(first), Array(second)) == distance)
        #expect(editDistance(Array(second), Array(first)) == distance)
    }

    @Test func suggestsOnlyWhatIsNear() {
        let commands = ["personalize", "evaluate", "config"]
        #expect(suggestion(for: "personalise", among: commands) == " Did you mean 'personalize'?")
        #expect(suggestion(for: "eval", among: commands) == " Did you mean 'evaluate'?")
        #expect(suggestion(for: "CONFIG", among: commands) == " Did you mean 'config'?")
        #expect(suggestion(for: "delete", among: commands).isEmpty)
        #expect(suggestion(for: "x", among: commands).isEmpty)
        #expect(suggestion(for: "--", among: commands).isEmpty)
    }
}
