import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// Folders of queries in place of interactions.
@Suite struct QueriesFolderTests {
    /// Eight items of dimension 2, and two users with six choices each, the second of them a donor.
    private func folder(_ queries: String? = nil) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.write("items.csv", "item_id\n" + (0..<8).map { "i\($0)\n" }.joined())
        try folder.write("donors.txt", "donor\n")
        try folder.write(
            "embeddings-x.npy", npy((0..<8).map { [Float(cos(Double($0))), Float(sin(Double($0)))] }))
        try folder.write("queries-x.npy", npy((0..<8).map { [Float($0), 1] } + [[0, 0]]))
        var text = "user_id,query_row,item_id,timestamp\n"
        for user in ["u", "donor"] { for step in 0..<7 { text += "\(user),\(step),i\(step),\(step)\n" } }
        try folder.write("queries.csv", queries ?? text)
        return folder
    }

    @Test func eachEventHasAQueryOfItsOwn() async throws {
        let folder = try folder()
        let read = try DataFolder(path: folder.path)
        #expect(read.queries?.rows == 9 && read.interactions.first?.queryRow == 0)
        let data = try EvaluationData(read)
        let user = data.users[0]
        #expect(user.items == Array(0..<7) && user.queries == Array(0..<7) && data.queryVectors?.rows == 8)
        let vectors = try #require(data.queryVectors)
        for (row, length) in [(0, 1.0), (3, sqrt(10))] {
            #expect(abs(Double(vectors[row, 1]) - 1 / length) < 1e-6)
        }
        // Against a loop: the query is the event's own, the target its item, and what was chosen before is no candidate.
        let run = PrequentialRun(
            data: data, users: data.users, query: .last, kappas: [0], seeds: 1, seed: 0, threads: 1)
        let table = try await run.tables(of: IdentityMethod(query: nil))[0]
        #expect(table.eventCount == 6)
        for event in 0..<6 {
            let target = event + 1
            func score(_ item: Int) -> Double {
                (0..<2).reduce(0.0) { $0 + Double(vectors[target, $1]) * Double(data.vectors[item, $1]) }
            }
            let above = (target + 1..<8).filter { score($0) > score(target) }.count
            #expect(abs(table.quality[event].auc - (1 - Double(above) / Double(8 - target - 1))) < 1e-9)
        }
        // The profile is that of the items chosen so far, whatever the queries are.
        var other = RunningQuery(.profile, dimension: 2)
        var own = RunningQuery(.profile, dimension: 2)
        for step in 0..<3 {
            #expect(
                other.next(like: data.vectors.rowValues(user.items[step])) == own.next(of: user, at: step, in: data))
        }
    }

    @Test func theQueriesArePartOfWhatAResultDependsOn() throws {
        let folder = try folder()
        let hash = try EvaluationData(DataFolder(path: folder.path)).contentHash
        try folder.write("queries-x.npy", npy((0..<8).map { [Float($0), 2] } + [[0, 0]]))
        #expect(try EvaluationData(DataFolder(path: folder.path)).contentHash != hash)
    }

    @Test func aRowWithoutAQueryOrWithAKnownItemIsLeftOut() throws {
        var text = "user_id,query_row,item_id,timestamp\nu,8,i7,0\n"
        for user in ["u", "donor"] {
            for step in 0..<7 { text += "\(user),\(step),i\(step),\(step)\n\(user),2,i\(step),9\n" }
        }
        let folder = try folder(text)
        let data = try EvaluationData(DataFolder(path: folder.path))
        #expect(data.users[0].items == Array(0..<7) && data.users[0].queries == Array(0..<7))
    }

    @Test func learningMethodsRunOnQueries() async throws {
        var configuration = EvaluationConfiguration()
        configuration.rank = 2
        configuration.seeds = 1
        configuration.resamples = 100
        let folder = try folder()
        let result = try await Evaluation(
            EvaluationData(DataFolder(path: folder.path)), configuration: configuration
        ).run()
        #expect(result.methods.count == EvaluationMethod.allCases.count && result.events == 6)
    }

    @Test(
        arguments: [
            ("user_id,item_id,timestamp\nu,i1,1\n", .missingColumn, 1, nil, "query_row"),
            ("user_id,query_row,item_id,timestamp\nu,9,i1,1\n", .invalidNumber, 2, 2, "from 0 to 8"),
            ("user_id,query_row,item_id,timestamp\nu,-1,i1,1\n", .invalidNumber, 2, 2, "from 0 to 8"),
            ("user_id,query_row,item_id,timestamp\nu,1.5,i1,1\n", .invalidNumber, 2, 2, "no whole number"),
            ("user_id,query_row,item_id,timestamp\nu,1e300,i1,1\n", .invalidNumber, 2, 2, "no whole number"),
            ("user_id,query_row,item_id,timestamp\nu,1,i9,1\n", .unknownItem, 2, 3, "not listed in items.csv"),
            ("user_id,query_row,item_id,timestamp\nu,1,i1,\n", .invalidNumber, 2, 4, "timestamp"),
            ("user_id,query_row,item_id,timestamp\nu,1,i1\n", .malformedRow, 2, 3, "3 fields"),
            ("", .missingColumn, 1, nil, "empty"),
        ] as [(String, DataError.Code, Int, Int?, String)])
    func refusesBadRows(text: String, code: DataError.Code, line: Int, column: Int?, says: String) throws {
        let folder = try folder(text)
        let error = try #require(throws: DataError.self) { try DataFolder(path: folder.path) }
        #expect(error.code == code && error.file == "queries.csv" && error.line == line, "\(error)")
        #expect((column == nil || error.column == column) && error.description.contains(says), "\(error)")
    }

    @Test func refusesQueriesThatDoNotFit() throws {
        for rows: [[Float]] in [[[1, 2, 3]], [[.nan, 1]]] {
            let folder = try folder()
            try folder.write("queries-x.npy", npy(rows))
            let error = #expect(throws: DataError.self) { try DataFolder(path: folder.path) }
            #expect(error?.code == .embeddings && error?.file == "queries-x.npy")
        }
        let folder = try folder()
        try folder.remove("queries-x.npy")
        #expect(throws: DataError.self) { try DataFolder(path: folder.path) }
        try folder.remove("queries.csv")
        let error = #expect(throws: DataError.self) { try DataFolder(path: folder.path) }
        #expect(error?.code == .missingFile && error?.description.contains("queries.csv") == true)
    }

    @Test func neverTrapsOnBrokenBytes() throws {
        var text = "user_id,query_row,item_id,timestamp\n"
        for step in 0..<9 { text += "\"u,ü\",\(step),i\(step % 8),\(step)\n" }
        let bytes = Array(text.utf8)
        let items = try ItemsFile(
            bytes: Array(("item_id\n" + (0..<8).map { "i\($0)\n" }.joined()).utf8), limits: DataLimits())
        var random = PhiloxGenerator(seed: 21, purpose: .simulation)
        for _ in 0..<underSanitizer(200, otherwise: 3_000) {
            var broken = bytes
            for _ in 0..<random.integer(in: 1..<5) {
                broken[random.integer(below: broken.count)] = UInt8(random.integer(below: 256))
            }
            do throws(DataError) {
                let file = try InteractionsFile(bytes: broken, items: items.rows, limits: DataLimits(), queries: 9)
                #expect(file.interactions.allSatisfy { (0..<9).contains($0.queryRow ?? -1) })
            } catch {
                #expect(!error.message.isEmpty && error.file == "queries.csv")
            }
        }
    }
}
