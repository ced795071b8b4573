import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// Two benchmarks, from the command line to the verdict.
@Suite struct CompareCommandTests {
    @Test func recordsAreWrittenOnceAndCompared() async throws {
        let folder = try JobTests.Folder()
        let (a, b) = (folder.path + "/a.json", folder.path + "/b.json")
        for (file, rank) in [(a, "2"), (b, "3")] {
            let run = await attune(
                "evaluate", folder.path, "--methods", "none,cold", "--seeds", "1", "--rank", rank, "--record", file)
            #expect(run.code == .success, "\(run.errors)")
        }
        let again = await attune("evaluate", folder.path, "--methods", "none", "--seeds", "1", "--record", a)
        #expect(again.code == .cannotCreate && again.errors.contains("there is something at"))
        let record = try BenchmarkRecord(path: a)
        #expect(record.command.hasPrefix("attune evaluate ") && record.command.contains("--rank 2"))
        #expect(record.runs.map(\.name) == ["none", "cold"])

        let same = await attune("benchmark", "compare", a, a)
        #expect(same.code == .success && same.output.contains("cannot tell"), "\(same.errors)")
        let both = await attune("benchmark", "compare", a, b, "--measures", "auc,area", "--format", "json")
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(both.output.utf8)) as? [String: Any], "\(both.errors)")
        let rows = try #require(object["rows"] as? [[String: Any]])
        #expect(rows.compactMap { $0["measure"] as? String } == ["auc", "area"])
        let worse = rows.contains { $0["verdict"] as? String == "worse" }
        #expect(both.code == (worse ? .mismatch : .success))
        // No adapter is surely worse than one that helps, or the data does not tell; it is never better.
        let pair = await attune("benchmark", "compare", a, b, "--methods", "cold=none", "--measures", "auc")
        #expect(pair.output.contains("cold = none") && !pair.output.contains("better"))
        #expect((pair.code == .mismatch) == pair.output.contains("worse"))
    }

    @Test func whatCannotBeComparedIsRefused() async throws {
        let folder = try JobTests.Folder()
        let (a, b) = (folder.path + "/a.json", folder.path + "/b.json")
        for (file, query) in [(a, "last"), (b, "profile")] {
            let run = await attune(
                "evaluate", folder.path, "--methods", "none", "--seeds", "1", "--query", query, "--record", file)
            #expect(run.code == .success, "\(run.errors)")
        }
        let queries = await attune("benchmark", "compare", a, b)
        #expect(queries.code == .badData && queries.errors.contains("other queries"))
        let none = await attune("benchmark", "compare", a, a)
        #expect(none.code == .badData && none.errors.contains("no method in common"))
        let missing = await attune("benchmark", "compare", a, folder.path + "/c.json")
        #expect(missing.code == .noInput)
        let other = await attune("benchmark", "compare", a, folder.path + "/items.csv")
        #expect(other.code == .badData && other.errors.contains("items.csv"))
        let unknown = await attune("benchmark", "compare", a, a, "--methods", "cold=warm")
        #expect(unknown.code == .badData && unknown.errors.contains("it has none"))
        for wrong in ["cold", "a=b=c", "=b"] {
            #expect(await attune("benchmark", "compare", a, a, "--methods", wrong).code == .usage)
        }
        #expect(await attune("benchmark").code == .usage)
    }
}
