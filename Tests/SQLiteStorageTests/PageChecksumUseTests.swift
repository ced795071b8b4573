import CPageChecksums
import CSQLite
import Foundation
import Testing

/// What a store does with a database over time, with checksums: every page that is in use stays readable.
@Suite struct PageChecksumUseTests {
    @Test(arguments: [512, 1024, 4096, 65536]) func growsAndShrinksAndIsReopened(pageSize: Int) throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: pageSize, rows: 5, bodyBytes: 100)
        for cycle in 1...12 {
            let expected: [[String]]
            do {
                let connection = try database.open()
                try connection.run(ChecksumDatabase.rows(from: cycle * 100, count: 20, bodyBytes: cycle * 400))
                if cycle % 3 == 0 { try connection.run("DELETE FROM records WHERE id % 3 = 1") }
                if cycle % 4 == 0 { try connection.run("VACUUM") }
                if cycle % 2 == 0 { try connection.checkpoint() }
                if cycle % 5 == 0 { try connection.run("DROP INDEX edges_by_weight; REINDEX") }
                if cycle % 5 == 0 { try connection.run("CREATE INDEX edges_by_weight ON edges(weight)") }
                expected = try connection.content()
            }
            #expect(try database.outcome().get() == expected)
            #expect(try database.bytes().count % pageSize == 0)
        }
        try expectChecksums(database, pageSize: pageSize)
    }

    /// Every page of a closed file is read by a copy, also free ones.
    private func expectChecksums(_ database: ChecksumDatabase, pageSize: Int) throws {
        let source = try database.open()
        #expect(try source.value("PRAGMA page_size") == "\(pageSize)")
        let target = try ChecksumDatabase()
        let copy = try target.open()
        try source.copy(into: copy, pagesPerStep: 50)
        #expect(try copy.content() == source.content())
    }

    @Test(arguments: [512, 4096, 65536]) func copiesWhileItIsWrittenTo(pageSize: Int) throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: pageSize, rows: 60, bodyBytes: 3000)
        let target = try ChecksumDatabase()
        let source = try database.open()
        let other = try database.open()
        var changes = 0
        do {
            let copy = try target.open()
            try source.copy(into: copy, pagesPerStep: 1 + 40 * 512 / Int32(pageSize)) {
                guard changes < 5 else { return }
                changes += 1
                try other.run("UPDATE edges SET weight = \(changes) WHERE owner = \(changes)")
            }
        }
        #expect(changes > 0)
        #expect(try target.outcome().get() == source.content())
        // Over a database that is there, with a log and another number of pages.
        do {
            let copy = try target.open()
            try copy.run("PRAGMA journal_mode = WAL")
            try copy.run(ChecksumDatabase.rows(from: 500, count: 50, bodyBytes: 2000))
            try source.copy(into: copy)
        }
        #expect(try target.outcome().get() == source.content())
    }

    @Test func vacuumsIntoAnotherFile() throws {
        let database = try ChecksumDatabase()
        let expected = try database.make(pageSize: 4096, rows: 30, bodyBytes: 9000)
        let target = try ChecksumDatabase()
        try database.open().run("VACUUM INTO '\(target.path)'")
        #expect(try target.outcome().get() == expected)
        #expect(try target.bytes()[20] == 8)
    }

    @Test func aCopyOfADatabaseWithoutChecksumsIsNotWritten() throws {
        let database = try ChecksumDatabase()
        let plain = try ChecksumConnection(database.path, vfs: nil)
        try plain.run(ChecksumDatabase.tables + ChecksumDatabase.rows(from: 1, count: 30, bodyBytes: 5000))
        for journal in ["DELETE", "WAL"] {
            let target = try ChecksumDatabase()
            let connection = try target.open()
            try connection.run("PRAGMA journal_mode = \(journal)")
            #expect(throws: ChecksumConnection.Failure(code: refusedWrite)) {
                try plain.copy(into: connection)
                try connection.checkpoint()
            }
        }
    }

    /// The way to bring a database that was made without checksums under them.
    @Test func vacuumsIntoAFileWithChecksums() throws {
        let database = try ChecksumDatabase()
        let plain = try ChecksumConnection(database.path, vfs: nil)
        try plain.run(ChecksumDatabase.tables + ChecksumDatabase.rows(from: 1, count: 30, bodyBytes: 5000))
        try plain.reserveWithoutTheVFS()
        let target = try ChecksumDatabase()
        try plain.run("VACUUM INTO 'file:\(target.path)?vfs=\(ATTUNE_PAGE_CHECKSUMS_VFS)'")
        #expect(try target.outcome().get() == plain.content())
    }

    @Test func pagesInAnotherSizeAreNotWritten() throws {
        let database = try ChecksumDatabase()
        let expected = try database.make(pageSize: 1024, rows: 30, bodyBytes: 900, journal: "DELETE")
        for size in [512, 4096] {
            let connection = try database.open()
            #expect(throws: ChecksumConnection.Failure(code: refusedWrite)) {
                try connection.run("PRAGMA page_size = \(size); VACUUM")
            }
            #expect(connection.refusal.reason == ATTUNE_PAGE_NOT_WRITABLE)
        }
        #expect(try database.outcome().get() == expected)
    }

    /// A small cache, so that pages are written before the commit and out of order, in transactions that use pages, free
    /// them and use them again.
    @Test(arguments: ["DELETE", "TRUNCATE", "PERSIST", "WAL"], ["ON", "OFF", "FAST"])
    func aTransactionLargerThanTheCache(journal: String, secureDelete: String) throws {
        let database = try ChecksumDatabase()
        do {
            let connection = try database.open(pageSize: 512)
            try connection.run("PRAGMA journal_mode = \(journal); PRAGMA cache_size = 10")
            try connection.run("PRAGMA secure_delete = \(secureDelete)")
            try connection.run(ChecksumDatabase.tables)
            for round in 0..<6 {
                try connection.run(
                    """
                    BEGIN; CREATE TABLE t(a, b UNIQUE);
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
                    INSERT INTO t SELECT i, printf('%0*d', 30 + i % 900, i * 31 % 401) FROM n;
                    DELETE FROM t WHERE a % 4 < 2; UPDATE t SET b = b || printf('%0400d', a) WHERE a % 3 = 0; DROP TABLE t;
                    CREATE TABLE u(a); INSERT INTO u SELECT zeroblob(90000); DROP TABLE u;
                    """)
                try connection.run(round % 3 == 1 ? "ROLLBACK" : "COMMIT")
                try connection.run(ChecksumDatabase.rows(from: round * 20 + 1, count: 20, bodyBytes: 900))
            }
            _ = try connection.content()
        }
        _ = try database.outcome().get()
        try expectChecksums(database, pageSize: 512)
    }

    /// Without secure_delete, a page that was used and freed in one transaction is never written, and later ones are: a copy
    /// reads the gap.
    @Test func aGapInTheFileHasChecksums() throws {
        let database = try ChecksumDatabase()
        do {
            let connection = try database.open(pageSize: 512)
            try connection.run("PRAGMA journal_mode = DELETE; PRAGMA secure_delete = OFF")
            try connection.run(ChecksumDatabase.tables)
            try connection.run("CREATE TABLE t(a)")
            try connection.run("BEGIN; INSERT INTO t VALUES (zeroblob(20000)); INSERT INTO t VALUES (zeroblob(9000))")
            try connection.run("DELETE FROM t WHERE rowid = 1; COMMIT")
        }
        let bytes = try database.bytes()
        var isGap = false
        for start in stride(from: 0, to: bytes.count, by: 512) {
            let content = bytes[start..<start + 504]
            if content.allSatisfy({ $0 == 0 }) && bytes[start + 504..<start + 512] != content.prefix(8) { isGap = true }
        }
        #expect(isGap)
        try expectChecksums(database, pageSize: 512)
    }

    /// The file is empty again after the first connection's pages of another size.
    @Test func aDatabaseThatWasNotMadeCanBeMadeWithOtherPages() throws {
        let database = try ChecksumDatabase()
        let first = try database.open(pageSize: 4096)
        try first.run("PRAGMA cache_size = 1; BEGIN; CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(200000))")
        #expect(try first.value("SELECT length(hex(a)) FROM t") == "400000")
        #expect(try database.bytes().count > 4096)
        try first.run("ROLLBACK")
        #expect(try database.bytes().isEmpty)
        let expected = try database.make(pageSize: 512, rows: 10, bodyBytes: 1000)
        #expect(try first.content() == expected)
    }

    @Test(arguments: ["FULL", "INCREMENTAL"]) func freePagesAreGivenBack(mode: String) throws {
        let database = try ChecksumDatabase()
        try database.open(pageSize: 1024).run("PRAGMA auto_vacuum = \(mode); PRAGMA journal_mode = WAL")
        let connection = try database.open()
        try connection.run(ChecksumDatabase.tables + ChecksumDatabase.rows(from: 1, count: 100, bodyBytes: 3000))
        try connection.checkpoint()
        let before = try database.bytes().count
        try connection.run("DELETE FROM records WHERE id % 2 = 0; PRAGMA incremental_vacuum")
        try connection.checkpoint()
        #expect(try database.bytes().count < before)
        #expect(try database.outcome().get() == connection.content())
        try connection.run(ChecksumDatabase.rows(from: 200, count: 100, bodyBytes: 3000))
        #expect(try database.outcome().get() == connection.content())
    }

    @Test func readsWhileAnotherConnectionWritesAndChecksPoint() async throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 512, rows: 30, bodyBytes: 2000)
        let path = database.path
        try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                let writer = try ChecksumConnection(path)
                for round in 0..<150 {
                    try writer.run(
                        "BEGIN; UPDATE edges SET weight = \(round); UPDATE records SET name = 'n\(round)'; COMMIT")
                    if round % 3 == 0 { try writer.run("PRAGMA wal_checkpoint(PASSIVE)") }
                }
                return 150
            }
            for isReopening in [true, false] {
                group.addTask {
                    var connection = try ChecksumConnection(path)
                    for _ in 0..<150 {
                        if isReopening { connection = try ChecksumConnection(path) }
                        try connection.run("BEGIN")
                        // All rows of one round, or all as they were made.
                        let names = try connection.rows("SELECT DISTINCT name FROM records")
                        #expect(names.count == (names[0][0].hasPrefix("name") ? 30 : 1))
                        let weights = try connection.rows("SELECT DISTINCT weight FROM edges")
                        #expect((weights.count == 1) == (names.count == 1))
                        #expect(try connection.value("PRAGMA integrity_check") == "ok")
                        try connection.run("COMMIT")
                    }
                    return 150
                }
            }
            for try await rounds in group { #expect(rounds == 150) }
        }
        _ = try database.outcome().get()
    }

    /// The second connection has opened an empty file, and thinks of pages of the default size.
    @Test(arguments: [512, 65536]) func opensBeforeAnotherConnectionMakesTheDatabase(pageSize: Int) throws {
        let database = try ChecksumDatabase()
        let early = try database.open()
        let expected = try database.make(pageSize: pageSize, rows: 10, bodyBytes: 1000)
        #expect(try early.content() == expected)
        try early.run(ChecksumDatabase.rows(from: 100, count: 10, bodyBytes: 1000))
        #expect(try database.outcome().get() == early.content())
    }

    @Test func nothingIsMapped() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 4096, rows: 30, bodyBytes: 9000)
        var bytes = try database.bytes()
        bytes[4096 * 20 + 99] ^= 1
        try database.write(bytes)
        let connection = try database.open()
        try connection.run("PRAGMA mmap_size = 100000000")
        #expect(try connection.value("PRAGMA mmap_size") == "0")
        #expect(throws: ChecksumConnection.Failure(code: damagedData)) { try connection.content() }
    }

    @Test func aDamagedAttachedDatabaseIsRefused() throws {
        let first = try ChecksumDatabase()
        _ = try first.make(pageSize: 4096, rows: 3, bodyBytes: 10)
        let second = try ChecksumDatabase()
        _ = try second.make(pageSize: 512, rows: 30, bodyBytes: 600)
        var bytes = try second.bytes()
        bytes[512 * 9 + 99] ^= 1
        try second.write(bytes)
        let connection = try first.open()
        try connection.run("ATTACH '\(second.path)' AS other")
        #expect(throws: ChecksumConnection.Failure(code: damagedData)) {
            try connection.rows("SELECT sum(length(hex(body))), max(name) FROM other.records")
        }
    }
}
