import Foundation
import TensorCore
import Testing

@testable import Evaluation

@Suite struct DataFolderTests {
    /// Three items, two users, dimension 2.
    private func folder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.write("items.csv", "item_id,text\na,Alpha\nb,\"Beta, the second\"\nc,Gamma\n")
        try folder.write("interactions.csv", "user_id,item_id,rating,timestamp\nu,a,5,20\nu,b,4,10\nv,c,3.5,10\n")
        try folder.write("embeddings-x.npy", npy([[3, 4], [0, 0], [0, 2]]))
        return folder
    }

    private func error(_ folder: TemporaryFolder, _ embeddings: String? = nil) throws -> DataError {
        try #require(throws: DataError.self) { try DataFolder(path: folder.path, embeddings: embeddings) }
    }

    @Test func readsAFolder() throws {
        let folder = try folder()
        try folder.write("donors.txt", "\u{FEFF}v\r\nunknown\n\n")
        let data = try DataFolder(path: folder.path + "//", embeddings: "x")
        #expect(data.itemIDs == ["a", "b", "c"])
        #expect(data.itemTexts == ["Alpha", "Beta, the second", "Gamma"])
        #expect(data.userIDs == ["u", "v"])
        #expect(data.isDonor == [false, true])
        #expect(data.embeddings.row(0) == [3, 4])
        #expect(data.name == URL(filePath: folder.path).lastPathComponent)
        // In order of time; equal times in the order of the file.
        #expect(data.interactions.map(\.item) == [1, 2, 0])
        #expect(data.interactions.map(\.isLike) == [true, false, true])
    }

    @Test func takesTheFirstEmbeddingsWhenNoneAreNamed() throws {
        let folder = try folder()
        try folder.write("embeddings-b.npy", npy([[1], [2], [3]]))
        #expect(try DataFolder(path: folder.path).embeddingsName == "b")
    }

    @Test func countsEveryRowAsALikeWithoutRatings() throws {
        let folder = try folder()
        try folder.write("interactions.csv", "timestamp,item_id,extra,user_id\n1,a,?,u\n")
        let row = try #require(try DataFolder(path: folder.path).interactions.first)
        #expect(row.rating == nil && row.isLike)
    }

    @Test func namesTheFirstBadRowAndCountsTheOthers() throws {
        let folder = try folder()
        try folder.write(
            "interactions.csv",
            "user_id,item_id,rating,timestamp\nu,a,5,20\nu,nowhere,4,10\nv,c,nan,10\nv,c,4\nv,c,4,tomorrow\nv,b,4,3\n")
        let found = try error(folder)
        #expect(found.code == .unknownItem)
        #expect((found.file, found.line, found.column, found.moreBadRows) == ("interactions.csv", 3, 2, 3))
        #expect(found.columnName == "item_id" && found.value == "nowhere")
        #expect(
            found.description
                == "interactions.csv, line 3, column 2 (item_id): the item is not listed in items.csv; 3 more bad rows")
        #expect(found.debugDescription.contains("(found \"nowhere\")"))
    }

    @Test(
        arguments: [
            ("user_id,item_id,rating,timestamp\nu,a,nan,1\n", .invalidNumber, 2, 3),
            ("user_id,item_id,rating,timestamp\nu,a,1e300,1\n", .invalidNumber, 2, 3),
            ("user_id,item_id,rating,timestamp\nu,a,5,\n", .invalidNumber, 2, 4),
            ("user_id,item_id,rating,timestamp\n,a,5,1\n", .emptyIdentifier, 2, 1),
            ("user_id,item_id,rating,timestamp\nu,a,5\n", .malformedRow, 2, 3),
            ("user_id,item_id,rating,timestamp\nu,a,5,1,2\n", .malformedRow, 2, 5),
            ("user_id,item_id,rating,timestamp\n\"u,a,5,1\n", .malformedRow, 2, 1),
            ("user_id,item_id,rating,timestamp\nu,a,\"5\"0,1\n", .malformedRow, 2, 3),
            ("user_id,item_id,rating\nu,a,5\n", .missingColumn, 1, nil),
            ("user_id,item_id,timestamp,timestamp\nu,a,5,1\n", .missingColumn, 1, 4),
            ("", .missingColumn, 1, nil),
        ] as [(String, DataError.Code, Int, Int?)])
    func refusesBadInteractions(text: String, code: DataError.Code, line: Int, column: Int?) throws {
        let folder = try folder()
        try folder.write("interactions.csv", text)
        let found = try error(folder)
        #expect(found.code == code && found.line == line && found.column == column, "\(found)")
        #expect(found.file == "interactions.csv")
    }

    @Test func refusesBadUTF8() throws {
        let folder = try folder()
        try folder.write("items.csv", Array("item_id,text\na,\n".utf8) + [0xFF] + Array(",x\nc,y\n".utf8))
        #expect(try error(folder).code == .invalidEncoding)
        try folder.write("items.csv", "item_id\na\nb\nc\n")
        try folder.write("donors.txt", [0x61, 0x0A, 0xFF, 0x0A])
        let found = try error(folder)
        #expect((found.file, found.line) == ("donors.txt", 2))
    }

    /// In one scalar and in two: equal as Swift's strings, and two ids for everything that keeps them.
    @Test(arguments: [("caf\u{E9}", "cafe\u{301}"), ("cafe\u{301}", "caf\u{E9}")])
    func idsAreComparedByTheirBytes(_ first: String, _ second: String) throws {
        let folder = try folder()
        try folder.write("items.csv", "item_id\n\(first)\n\(second)\nc\n")
        try folder.write(
            "interactions.csv",
            "user_id,item_id,timestamp\n\(first),\(second),1\n\(second),\(first),2\n\(first),\(first),3\n")
        try folder.write("donors.txt", "\(second)\n")
        let data = try DataFolder(path: folder.path)
        #expect(data.userIDs.map { Array($0.utf8) } == [first, second].map { Array($0.utf8) })
        #expect(data.itemIDs.map { Array($0.utf8) } == [first, second, "c"].map { Array($0.utf8) })
        #expect(data.interactions.map { [$0.user, $0.item] } == [[0, 1], [1, 0], [0, 0]])
        #expect(data.isDonor == [false, true])
    }

    @Test func refusesDuplicateItems() throws {
        let folder = try folder()
        try folder.write("items.csv", "item_id,text\na,1\na,2\na,3\n")
        let found = try error(folder)
        #expect(found.code == .duplicateItem && found.line == 3 && found.moreBadRows == 1)
    }

    @Test func refusesEmbeddingsThatDoNotFit() throws {
        let folder = try folder()
        try folder.write("embeddings-x.npy", npy([[1, 2], [3, 4]]))
        #expect(try error(folder).code == .embeddings)
        try folder.write("embeddings-x.npy", npy([[1, 2], [3, .nan], [.infinity, 1]]))
        let notFinite = try error(folder)
        #expect((notFinite.line, notFinite.column, notFinite.moreBadRows) == (2, 2, 1))
        #expect(notFinite.description.hasPrefix("embeddings-x.npy, row 2, column 2: "))
        try folder.write("embeddings-x.npy", npy([[1, 2], [3, 4], [5, 6]], shape: "(3, 2, 1)"))
        #expect(try error(folder).code == .embeddings)
        try folder.write("embeddings-x.npy", Array(npy([[1, 2], [3, 4], [5, 6]]).dropLast()))
        #expect(try error(folder).code == .embeddings)
        try folder.write("embeddings-x.npy", npy([[], [], []], shape: "(3, 0)"))
        #expect(try error(folder).code == .limitExceeded)
    }

    @Test func refusesMissingFilesAndNamesWhatThereIs() throws {
        let folder = try folder()
        #expect(try error(folder, "y").message.contains("the names it has: x"))
        #expect(try error(folder, "../x").code == .missingFile)
        try folder.remove("interactions.csv")
        let found = try error(folder)
        #expect(found.code == .missingFile && found.file == "interactions.csv")
        #expect(throws: DataError.self) { try DataFolder(path: "/nonexistent/folder") }
    }

    @Test func keepsToItsLimits() throws {
        let folder = try folder()
        var limits = DataLimits()
        limits.interactions = 2
        #expect(throws: DataError.self) { try DataFolder(path: folder.path, limits: limits) }
        limits = DataLimits()
        limits.dimension = 1
        #expect(throws: DataError.self) { try DataFolder(path: folder.path, limits: limits) }
        limits = DataLimits()
        limits.fileBytes = 10
        #expect(throws: DataError.self) { try DataFolder(path: folder.path, limits: limits) }
    }

    @Test func splitsUsersInHalvesThatNeverChange() {
        let share = (0..<2_000).filter { DataFolder.isDonor("user \($0)", seed: 0) }.count
        #expect((900...1_100).contains(share))
        // Pinned: another split would silently change every published number.
        #expect(
            (0..<16).map { DataFolder.isDonor("\($0)", seed: 0) }.map { $0 ? "d" : "u" }.joined() == "duuuuduuuudduudd")
        #expect((0..<64).contains { DataFolder.isDonor("\($0)", seed: 0) != DataFolder.isDonor("\($0)", seed: 1) })
    }

    @Test func escapesWhatItShows() {
        let error = DataError(.unknownItem, value: "a\u{1B}[31m\u{202E}" + String(repeating: "x", count: 100), "m")
        #expect(error.value?.hasPrefix(#"a\u{1b}[31m\u{202e}xxx"#) == true)
        #expect(error.value?.count ?? 0 < 90)
        #expect(!error.description.contains("31m"))
    }
}

@Suite struct LikeSequenceTests {
    private func data(_ rows: [(user: Int, item: Int, rating: Float?)], users: Int) throws -> EvaluationData {
        let folder = try TemporaryFolder()
        try folder.write("items.csv", "item_id\n" + (0..<100).map { "i\($0)\n" }.joined())
        try folder.write(
            "embeddings-x.npy", npy((0..<100).map { $0 == 99 ? [0, 0] : [Float($0) + 1, 2] }))
        try folder.write(
            "interactions.csv",
            "user_id,item_id,rating,timestamp\n"
                + rows.enumerated().map { "u\($1.user),i\($1.item),\($1.rating ?? 5),\($0)\n" }.joined())
        try folder.write("donors.txt", "u1\n")
        return try EvaluationData(DataFolder(path: folder.path))
    }

    @Test func keepsFirstLikesOfItemsWithAnEmbedding() throws {
        var rows: [(user: Int, item: Int, rating: Float?)] = []
        for user in 0...2 { for item in 0..<(user == 2 ? 5 : 8) { rows.append((user, item, 5)) } }
        rows.append((0, 3, 5))  // again
        rows.append((0, 99, 5))  // no embedding
        rows.append((0, 50, 3.5))  // not liked
        rows.append((0, 50, 4))
        for item in 0..<80 { rows.append((1, item, 4.5)) }
        let data = try data(rows, users: 3)
        #expect(data.itemCount == 99)
        #expect(data.users.map(\.userID) == ["u0"], "user 2 has too few likes")
        #expect(data.users[0].items == [0, 1, 2, 3, 4, 5, 6, 7, 50])
        #expect(data.donors[0].items == Array(0..<61))
        // Popularity counts all of a donor's likes, beyond the 61 too, and nobody else's.
        #expect(data.popularity[79] == Float(Elementary.log(2)) && data.popularity[80] == 0)
        #expect(data.vectors.row(0).map { $0 * $0 }.reduce(0, +) > 0.999_999)
    }

    @Test func needsDonorsAndUsers() throws {
        #expect(throws: DataError.self) { try data((0..<8).map { (0, $0, 5) }, users: 1) }
        #expect(throws: DataError.self) { try data((0..<8).map { (1, $0, 5) }, users: 1) }
    }
}
