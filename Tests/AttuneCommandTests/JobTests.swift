import Attune
import Foundation
import TestSupport
import Testing

@testable import AttuneCommand

/// The commands from the command line to the files and numbers they leave, on a small data folder.
@Suite struct JobTests {
    /// 24 users who each like 8 of 40 items, with ids that file names and CSV must escape.
    final class Folder {
        let path: String

        init() throws {
            path = FileManager.default.temporaryDirectory.appending(path: "attune-job-\(UUID().uuidString)").path
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            var random = PhiloxGenerator(seed: 11)
            var items = "item_id,text\n"
            for i in 0..<40 { items += "\(i),\"item, \(i)\"\n" }
            var rows = "user_id,item_id,rating,timestamp\n"
            for user in 0..<24 {
                for (step, item) in random.sample(8, of: 40).enumerated() {
                    rows += "\"../u \(user), ü\",\(item),5,\(step * 100 + user)\n"
                }
            }
            try write("items.csv", items)
            try write("interactions.csv", rows)
            var vectors = Matrix<Float>(rows: 40, columns: 8)
            for i in 0..<40 { for j in 0..<8 { vectors[i, j] = Float(random.normal()) } }
            try NumPyFile.write(vectors, to: path + "/embeddings-small.npy")
        }

        deinit {
            // Nothing to tell anyone when the system has removed it already.
            do { try FileManager.default.removeItem(atPath: path) } catch {}
        }

        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: URL(filePath: path + "/" + name))
        }
    }

    private static func object(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func personalizeWritesAnAdapterForEachUserAndInspectReadsIt() async throws {
        let folder = try Folder()
        let output = folder.path + "/new/adapters"
        let run = await attune(
            "personalize", folder.path, "--embeddings", "small", "--rank", "3", "--output", output, "--format", "json")
        #expect(run.code == .success && run.errors.isEmpty)
        let summary = try Self.object(run.output)
        #expect(summary["users"] as? Int == 24 && summary["updates"] as? Int == 24 * 7)
        #expect(summary["adapters_written"] as? Int == 24)
        let files = try FileManager.default.contentsOfDirectory(atPath: output)
        #expect(files.count == 24 && files.allSatisfy { $0.hasPrefix("%2E%2E%2Fu%20") })
        let file = try #require(files.sorted().first)
        let inspected = await attune("inspect", "\(output)/\(file)", "--format", "json")
        #expect(inspected.code == .success)
        let facts = try Self.object(inspected.output)
        #expect(facts["user"] as? String == "../u 0, ü" && facts["steps"] as? String == "7")
        #expect(facts["dimension"] as? Int == 8 && facts["rank"] as? Int == 3)
        let text = await attune("inspect", "\(output)/\(file)")
        #expect(text.output.contains("norm_product"))

        // The same again gives the same bytes.
        let again = folder.path + "/again"
        _ = await attune("personalize", folder.path, "--rank", "3", "--output", again)
        for name in files {
            let (first, second) = (URL(filePath: "\(output)/\(name)"), URL(filePath: "\(again)/\(name)"))
            #expect(try Data(contentsOf: first) == Data(contentsOf: second))
        }
    }

    @Test(
        .enabled(
            if: !TestRun.isSanitized, "too long under a sanitizer; other tests reach the same code"))
    func theBankDemonstrationIsTheSameTwiceButForTimesAndShowsAGain() async throws {
        func run() async throws -> (measured: [String: Any], rest: [String: Any]) {
            let run = await attune("bank", "demo", "--users", "60", "--seed", "3", "--format", "json", "--no-progress")
            #expect(run.code == .success && run.errors.isEmpty)
            var object = try Self.object(run.output)
            let measured = try #require(object.removeValue(forKey: "measured") as? [String: Any])
            return (measured, object)
        }
        let (first, second) = (try await run(), try await run())
        #expect(first.rest as NSDictionary == second.rest as NSDictionary)
        #expect(first.measured["update_microseconds_with"] as? Double ?? 0 > 0)

        let result = first.rest
        let (teachers, newUsers) = (result["teachers"] as? Int ?? 0, result["new_users"] as? Int ?? 0)
        #expect(teachers + newUsers == 60 && teachers > 20 && newUsers > 20)
        let episodes = try #require(result["episodes"] as? [String: Int])
        #expect(episodes["stored"] ?? 0 > 40 * teachers && episodes["stored"] == episodes["resolved"])
        let gains = try #require(result["gains"] as? [[String: Any]])
        #expect(gains.compactMap { $0["likes"] as? Int } == [1, 2, 4, 8, 16, 32])
        // Before anything is learned an adapter is no adapter; with the bank it starts ahead.
        let without = try #require(gains[0]["without"] as? [String: Double])
        #expect(without == ["mean": 0, "low": 0, "high": 0])
        let difference = try #require((result["overall"] as? [String: Any])?["difference"] as? [String: Double])
        #expect(difference["low"] ?? 0 > 0.02)
        #expect(result["cache_hit_rate"] as? Double ?? 0 > 0.5)

        let text = await attune("bank", "demo", "--users", "60", "--seed", "3", "--no-progress")
        #expect(text.code == .success && text.output.contains("\(teachers) users taught the bank"))
    }

    @Test func theBankKnowsItsActions() async {
        let run = await attune("bank", "dance")
        #expect(run.code == .usage && run.output.isEmpty && run.errors.contains("knows demo, stats"))
        #expect(await attune("bank", "demo", "--users", "59").code == .usage)
    }

    @Test func evaluatePrintsOneObjectAndWritesItsReport() async throws {
        let folder = try Folder()
        let report = folder.path + "/report.html"
        let run = await attune(
            "evaluate", folder.path, "--rank", "2", "--seeds", "1", "--format", "json", "--report", report)
        #expect(run.code == .success && run.errors.isEmpty)
        let result = try Self.object(run.output)
        for key in ["dataset", "items", "dimension", "donors", "users", "query", "seeds"] {
            #expect(result[key] != nil, "\(key)")
        }
        let methods = try #require(result["methods"] as? [String: [String: Any]])
        #expect(
            Set(methods.keys) == [
                "none", "popularity", "profile", "bias", "ridge", "cold", "warm", "similar", "random", "engine",
            ])
        for (name, measures) in methods {
            for key in ["auc", "ndcg10", "mrr", "hit10", "t90", "saving", "area", "worse"] {
                #expect(measures[key] != nil, "\(name) \(key)")
            }
            let auc = try #require(measures["auc"] as? [String: Double])
            #expect(auc["low"].map { $0 <= auc["mean"] ?? 0 } == true && (auc["high"] ?? 2) <= 1)
        }
        #expect(methods["none"]?["worse"] is NSNull)
        #expect(try String(contentsOf: URL(filePath: report), encoding: .utf8).contains("<svg"))
        #expect(FileManager.default.fileExists(atPath: folder.path + "/report.csv"))
        let table = await attune("evaluate", folder.path, "--rank", "2", "--seeds", "1", "--methods", "none,cold")
        #expect(table.code == .success && table.output.contains("Gain over none"))
    }

    @Test func badInputEndsWithItsCodeAndNamesThePlace() async throws {
        let folder = try Folder()
        try folder.write("interactions.csv", "user_id,item_id,rating,timestamp\na,1,5,1\na,2,x,2\nb,99,5,3\n")
        let bad = await attune("personalize", folder.path)
        #expect(bad.code == .badData && bad.output.isEmpty)
        #expect(bad.errors.contains("interactions.csv, line 3, column 3") && bad.errors.contains("1 more bad row"))
        #expect(await attune("evaluate", folder.path + "/nowhere").code == .noInput)
        #expect(await attune("inspect", folder.path + "/nowhere").code == .noInput)
        #expect(await attune("inspect", folder.path + "/items.csv").code == .badData)
        let good = try Folder()
        #expect(await attune("personalize", good.path, "--rank", "9").code == .usage)
        #expect(await attune("personalize", good.path, "--rank", "2", "--output", "/proc/no").code == .cannotCreate)
        #expect(
            await attune("evaluate", good.path, "--rank", "2", "--report", "/proc/no/x.html").code == .cannotCreate)
        // A folder where an adapter's file should be: the write fails part-way.
        let blocked = good.path + "/out/" + AdapterFolder.fileName("../u 0, ü")
        try FileManager.default.createDirectory(atPath: blocked, withIntermediateDirectories: true)
        let partly = await attune("personalize", good.path, "--rank", "2", "--output", good.path + "/out")
        #expect(partly.code == .ioError)
        // What was found is told all the same.
        #expect(partly.output.contains("Personalized 24 users") && partly.output.contains("not all adapters"))
        // A folder in the place of embeddings is no readable file, as in the place of any other.
        let path = good.path + "/embeddings-small.npy"
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        #expect(await attune("personalize", good.path).code == .noInput)
    }

    @Test func aReportReplacesNoFileThatIsNotItsOwn() async throws {
        let folder = try Folder()
        let table = folder.path + "/interactions.csv"
        let before = try Data(contentsOf: URL(filePath: table))
        let command = [
            "evaluate", folder.path, "--rank", "2", "--seeds", "1", "--methods", "none,cold", "--report",
        ]
        func report(_ name: String) async -> Transcript {
            await attune(arguments: command + [folder.path + "/" + name])
        }
        let run = await report("interactions.html")
        #expect(run.code == .cannotCreate && run.output.isEmpty && run.errors.contains("isn't a report's"))
        #expect(try Data(contentsOf: URL(filePath: table)) == before)
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/interactions.html"))
        // An earlier report's, or an empty one, is.
        try folder.write("curves.csv", "")
        #expect(await report("curves.html").code == .success)
        #expect(await report("curves.html").code == .success)
    }

    @Test func theDefaultRankFitsTheEmbeddings() async throws {
        let folder = try Folder()
        var vectors = Matrix<Float>(rows: 40, columns: 3)
        var random = PhiloxGenerator(seed: 2)
        for i in 0..<40 { for j in 0..<3 { vectors[i, j] = Float(random.normal()) } }
        try NumPyFile.write(vectors, to: folder.path + "/embeddings-few.npy")
        let run = await attune("personalize", folder.path, "--embeddings", "few", "--format", "json")
        #expect(run.code == .success)
        #expect(try Self.object(run.output)["rank"] as? Int == 3)
        #expect(await attune("personalize", folder.path, "--embeddings", "few", "--rank", "4").code == .usage)
    }

    @Test func configPrintsEverySettingOnce() async throws {
        let run = await attune("config", "--format", "json")
        #expect(run.code == .success)
        let settings = try #require(try Self.object(run.output)["settings"] as? [String: Any])
        #expect(settings.count == EngineConfiguration(dimension: 384).settings.count)
        #expect(settings["update.learningRates.ranking"] as? Double == 0.25)
        #expect(settings["ItemCatalogue.defaultPopularityWeight"] as? Double == 0.3)
        #expect((await attune("config")).output.contains("update.objective.like.wholeUpTo"))
    }

    @Test func fileNamesNeverClashAndNeverLeaveTheFolder() {
        let ids = ["a", "A", "a/b", "a%2Fb", "..", ".", "", "ü", "u\u{308}", String(repeating: "x", count: 1000)]
        let names = ids.map(AdapterFolder.fileName) + [AdapterFolder.fileName(String(repeating: "x", count: 1001))]
        #expect(Set(names).count == names.count)
        #expect(
            names.allSatisfy { !$0.contains("/") && !$0.hasPrefix(".") && $0.utf8.count < 255 || $0 == ".safetensors" })
    }
}
