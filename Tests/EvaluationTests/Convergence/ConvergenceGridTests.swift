import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// Grids of settings, as JSON and by themselves.
@Suite struct ConvergenceGridTests {
    private func grid(_ text: String) throws(DataError) -> ConvergenceGrid {
        let grid = try ConvergenceGrid(Array(text.utf8), name: "g.json")
        try grid.validate(dimension: 64)
        return grid
    }

    @Test func readsVariantsAndTheirCandidates() throws {
        let grid = try grid(
            """
            {"variants": [
              {"name": "a", "method": "engine", "settings": {"rate": [0.1, 0.25], "ewc": [null, 0.5], "bank": [true],
               "restartsAfter": [[2, 8]]}},
              {"name": "cold", "method": "cold"}]}
            """)
        #expect(grid.variants.map(\.name) == ["a", "cold"] && grid.variants[1].isTunedAsEvaluation)
        let texts = grid.variants[0].candidates.map { $0.map { "\($0.name.rawValue) \($0.value.text)" } }
        #expect(
            texts == [
                ["rate 0.1", "ewc off", "bank true", "restartsAfter 2 8"],
                ["rate 0.1", "ewc 0.5", "bank true", "restartsAfter 2 8"],
                ["rate 0.25", "ewc off", "bank true", "restartsAfter 2 8"],
                ["rate 0.25", "ewc 0.5", "bank true", "restartsAfter 2 8"],
            ])
    }

    /// The shipped example is one.
    @Test func theExampleIsAGrid() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Examples/grid.json")
        let grid = try ConvergenceGrid(path: file.path)
        try grid.validate(dimension: 64)
        let names = Set(grid.variants.flatMap { $0.settings.map(\.name) })
        #expect(names.isSuperset(of: [.rate, .rank, .ewc, .bank]))
    }

    private static func engine(_ settings: String) -> String {
        "{\"variants\": [{\"name\": \"v\", \"method\": \"engine\", \"settings\": {\(settings)}}]}"
    }

    @Test(
        arguments: [
            ("", "byte 0"), ("[]", "no object"), ("{}", "'variants' is no list"), ("{\"variants\": []}", "no variants"),
            ("{\"variants\": [], \"more\": 1}", "not one of variants"),
            ("{\"variants\": [{\"method\": \"cold\"}]}", "'name' is no text"),
            ("{\"variants\": [{\"name\": \"v\", \"method\": \"hot\"}]}", "'method' is not one of none"),
            ("{\"variants\": [{\"name\": \"\", \"method\": \"cold\"}]}", "empty or longer than 64"),
            ("{\"variants\": [{\"name\": \"a,b\", \"method\": \"cold\"}]}", "other characters"),
            ("{\"variants\": [{\"name\": \"none\", \"method\": \"cold\"}]}", "named after another method"),
            (
                "{\"variants\": [{\"name\": \"a\", \"method\": \"cold\"}, {\"name\": \"a\", \"method\": \"cold\"}]}",
                "two variants have the name 'a'"
            ),
            (
                "{\"variants\": [{\"name\": \"v\", \"method\": \"cold\", \"settings\": {\"alpha\": [1]}}]}",
                "setting 'alpha': the method cold has none of that name; it has rank, rate, kappa"
            ),
            (
                "{\"variants\": [{\"name\": \"v\", \"method\": \"popularity\", \"settings\": {\"kappa\": [1]}}]}",
                "it has no settings"
            ),
            (engine("\"speed\": [1]"), "there is no such setting; engine has rank, alpha"),
            (engine("\"rate\": 1"), "its values are no list"), (engine("\"rate\": []"), "it has no values"),
            (engine("\"rate\": [{}]"), "not a number, a word"), (engine("\"rate\": [0]"), "above 0 and at most 1000"),
            (engine("\"rate\": [\"fast\"]"), "'v', setting 'rate': the value fast is no number"),
            (engine("\"rate\": [1, 1.0]"), "the value 1 is there twice"),
            (engine("\"rank\": [65]"), "the value 65 is no whole number from 1 to 64"),
            (engine("\"rank\": [1.5]"), "the value 1.5 is no whole number"),
            (engine("\"optimizer\": [\"lion\"]"), "is not one of sgd, momentum, nesterov, riemannian"),
            (engine("\"bank\": [1]"), "is neither true nor false"), (engine("\"fading\": [1]"), "from 0 to below 1"),
            (engine("\"ewc\": [-1]"), "from 0 to 10000"), (engine("\"restartsAfter\": [[4, 2]]"), "ascending"),
            (engine("\"restartsAfter\": [4]"), "is no list of whole numbers"),
            (engine("\"strength\": [1]"), "none of that name"),
            (engine("\"forkAfter\": [5]"), "setting 'forkAfter': it has no effect without 'fork'"),
            (engine("\"auditPrior\": [0.5], \"audit\": [0, null]"), "no effect without 'audit'"),
            (engine("\"ewcEvery\": [5], \"ewc\": [0]"), "no effect without 'ewc'"),
            (engine("\"bankStrength\": [2], \"bank\": [false]"), "no effect without 'bank'"),
            (engine("\"clip\": [2], \"clipping\": [\"off\"]"), "no effect without 'clipping'"),
            (
                engine("\"rate\": [\((1...1001).map(String.init).joined(separator: ","))], \"bank\": [true, false]"),
                "the value 1001"
            ),
            (
                engine(
                    "\"rate\": [\((1...600).map(String.init).joined(separator: ","))], \"bank\": [true, false]"),
                "more than 1000 candidates"
            ),
        ])
    func refusesWhatIsNone(text: String, says: String) throws {
        let error = #expect(throws: DataError.self) { try grid(text) }
        #expect(error?.code == .malformedGrid, "\(String(describing: error))")
        #expect(error?.description.contains(says) == true, "\(says): \(String(describing: error))")
        #expect(error?.file == "g.json")
    }

    /// Where the other setting is on in one of its values at least, or by default.
    @Test(
        arguments: [
            "\"fork\": [0, 3], \"forkAfter\": [5]", "\"ewc\": [null, 1], \"ewcDecay\": [0.5]", "\"bankStrength\": [2]",
            "\"bank\": [true, false], \"restartsAfter\": [[2]]", "\"clip\": [1]",
        ])
    func takesSettingsThatHaveAnEffect(settings: String) throws { _ = try grid(Self.engine(settings)) }

    @Test func neverTrapsOnBrokenBytes() {
        let bytes = Array(Self.engine("\"rate\": [0.1, 0.25], \"ewc\": [null, 1e3], \"restartsAfter\": [[2, 4]]").utf8)
        var random = PhiloxGenerator(seed: 6, purpose: .simulation)
        for _ in 0..<underSanitizer(100, otherwise: 2_000) {
            var broken = bytes
            for _ in 0..<random.integer(in: 1..<4) {
                broken[random.integer(below: broken.count)] = UInt8(random.integer(below: 256))
            }
            if random.bernoulli(0.3) { broken.removeLast(random.integer(below: broken.count)) }
            // Whatever it is: an error with a text, or another grid, and no trap.
            do throws(DataError) {
                let grid = try ConvergenceGrid(broken, name: "g.json")
                try grid.validate(dimension: 16)
                #expect(grid.variants.allSatisfy { $0.candidateCount == $0.candidates.count })
            } catch {
                #expect(!error.message.isEmpty)
            }
        }
    }
}
