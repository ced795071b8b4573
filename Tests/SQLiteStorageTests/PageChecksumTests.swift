import CPageChecksums
import CSQLite
import Foundation
import TestSupport
import Testing

@Suite struct PageChecksumTests {
    /// Every byte of a small database, one at a time, with one bit flipped. Under a sanitizer every 13th byte.
    @Test(arguments: ["WAL", "DELETE"]) func aFlippedBitAnywhereIsRefusedOrChangesNothing(journal: String) throws {
        let database = try ChecksumDatabase()
        var expected = try database.make(pageSize: 512, rows: 12, bodyBytes: 300, journal: journal)
        // Free pages too, of which nothing is read.
        try database.open().run("DELETE FROM records WHERE id % 5 = 0")
        expected = try database.open().content()
        let intact = try database.bytes()
        #expect((10 * 512...40 * 512).contains(intact.count))
        let file = try FileHandle(forUpdating: URL(filePath: database.path))
        var state: UInt64 = 20_240_607
        let step = underSanitizer(13, otherwise: 1)
        let places = stride(from: 0, to: intact.count, by: step)
        var refused = 0
        for place in places {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            try file.seek(toOffset: UInt64(place))
            try file.write(contentsOf: [intact[place] ^ 1 << UInt8(state >> 61)])
            switch try database.outcome() {
            case .success(let content):
                #expect(content == expected, "byte \(place)")
                // Only what is never read may pass, and page 1 always is.
                #expect(place >= 512)
            case .failure(let failure):
                #expect(failure.code == damagedData, "byte \(place)")
                refused += 1
            }
            try file.seek(toOffset: UInt64(place))
            try file.write(contentsOf: [intact[place]])
        }
        let free = try #require(Int(try database.open().value("PRAGMA freelist_count")))
        #expect(free > 0 && refused >= Array(places).count - (512 + step - 1) / step * free)
        #expect(try database.bytes() == intact)
        #expect(try database.outcome().get() == expected)
    }

    @Test func pagesInEachOthersPlacesAreRefused() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 512, rows: 12, bodyBytes: 300)
        let intact = try database.bytes()
        let pages = intact.count / 512
        for first in 0..<pages {
            let second = (first * 5 + 3) % pages
            guard first != second else { continue }
            var bytes = intact
            bytes.replaceSubrange(512 * first..<512 * (first + 1), with: intact[512 * second..<512 * (second + 1)])
            bytes.replaceSubrange(512 * second..<512 * (second + 1), with: intact[512 * first..<512 * (first + 1)])
            try database.write(bytes)
            #expect(try database.outcome().code == damagedData)
        }
    }

    @Test func aPageOfZerosIsRefused() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 512, rows: 12, bodyBytes: 300)
        let intact = try database.bytes()
        for page in 0..<intact.count / 512 {
            var bytes = intact
            bytes.replaceSubrange(512 * page..<512 * (page + 1), with: repeatElement(0, count: 512))
            try database.write(bytes)
            #expect(try database.outcome().code == damagedData, "page \(page + 1)")
        }
    }

    /// From two bytes on: SQLite takes a file of one byte for an empty one.
    @Test func aFileThatWasCutIsRefused() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 512, rows: 12, bodyBytes: 300)
        let intact = try database.bytes()
        for length in Array(stride(from: 2, to: intact.count, by: 61))
            + Array(stride(from: 512, to: intact.count, by: 512))
        {
            try database.write(intact.prefix(length))
            // SQLite compares the number of pages in the header with the file's, up to its end's page.
            let isInLastPage = length > intact.count - 512
            let code = try #require(try database.outcome().code, "\(length)")
            #expect(code == damagedData || (!isInLastPage && code == SQLITE_CORRUPT), "\(length)")
        }
    }

    /// After a crash the log holds pages which the file has not yet, or in part: those are not missing. Others are.
    @Test func whatTheLogHoldsNeedNotBeIntactInTheFile() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 512, rows: 40, bodyBytes: 700)
        let atCheckpoint = try database.bytes()
        let writer = try database.open()
        try writer.run("PRAGMA wal_autocheckpoint = 0; UPDATE edges SET weight = weight + 1 WHERE owner < 9")
        try writer.run("UPDATE records SET name = 'again' WHERE id = 1")
        let expected = try writer.content()
        let log = Array(try contents(ofFile: database.path + "-wal"))
        let logged = stride(from: 32, to: log.count, by: 24 + 512).map { frame in
            log[frame..<frame + 4].reduce(0) { $0 << 8 | Int($1) }
        }
        #expect(logged.contains(1) && Set(logged).count > 5)

        let copy = try ChecksumDatabase()
        for page in 1...atCheckpoint.count / 512 {
            var bytes = atCheckpoint
            // The page's second half was not written.
            for place in 512 * page - 256..<512 * page { bytes[place] ^= 0x5a }
            try copy.write(bytes)
            try copy.write(log, to: "database-wal")
            let outcome = try copy.outcome()
            if logged.contains(page) {
                #expect(try outcome.get() == expected, "page \(page)")
            } else {
                #expect(outcome.code == damagedData, "page \(page)")
            }
        }
        // Cut: SQLite asks the log how many pages there are, not the file.
        try copy.write(atCheckpoint.prefix(atCheckpoint.count - 512 * 4))
        try copy.write(log, to: "database-wal")
        #expect(try copy.outcome().code == damagedData)
        withExtendedLifetime(writer) {}
    }

    @Test func plainSQLiteReadsTheFile() throws {
        let database = try ChecksumDatabase()
        let expected = try database.make(pageSize: 4096, rows: 50, bodyBytes: 9000)
        let intact = try database.bytes()
        do {
            let plain = try ChecksumConnection(database.path, vfs: nil)
            #expect(try plain.content() == expected)
        }
        #expect(try database.bytes() == intact)
        #expect(try database.outcome().get() == expected)
    }

    @Test func aFileThatPlainSQLiteWroteToIsRefused() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 4096, rows: 50, bodyBytes: 9000)
        try ChecksumConnection(database.path, vfs: nil).run("UPDATE records SET name = 'other' WHERE id = 7")
        let connection = try database.open()
        #expect(throws: ChecksumConnection.Failure(code: damagedData)) { try connection.content() }
        #expect(connection.refusal.page == 1 && connection.refusal.reason == ATTUNE_PAGE_DAMAGED)
    }

    @Test func aDatabaseMadeWithoutChecksumsIsRefused() throws {
        let database = try ChecksumDatabase()
        try ChecksumConnection(database.path, vfs: nil).run(ChecksumDatabase.tables)
        let connection = try database.open()
        #expect(throws: ChecksumConnection.Failure(code: damagedData)) {
            try connection.run("PRAGMA journal_mode = WAL")
        }
        #expect(throws: ChecksumConnection.Failure(code: damagedData)) { try connection.run("VACUUM") }
        #expect(connection.refusal.page == 1 && connection.refusal.reason == ATTUNE_PAGE_FOREIGN)
    }

    @Test func aNewDatabaseWithoutReservedBytesIsNotWritten() throws {
        let database = try ChecksumDatabase()
        let connection = try database.open(isReserving: false)
        #expect(throws: ChecksumConnection.Failure(code: refusedWrite)) {
            try connection.run("PRAGMA journal_mode = WAL")
        }
        #expect(throws: ChecksumConnection.Failure(code: refusedWrite)) { try connection.run("CREATE TABLE t(a)") }
        #expect(connection.refusal.reason == ATTUNE_PAGE_NOT_WRITABLE)
        #expect(try database.bytes().isEmpty)
    }

    @Test func aConnectionWithoutTheVFSCannotReserve() throws {
        let plain = try ChecksumConnection(":memory:", vfs: nil)
        #expect(plain.reserve() == SQLITE_MISUSE)
        #expect(plain.refusal.reason == ATTUNE_PAGE_NOT_REFUSED)
    }

    /// SQLite reads long values so from 3.45 on.
    @Test func partsOfPagesAreChecked() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 1024, rows: 20, bodyBytes: 5000)
        let intact = try database.bytes()
        var damaged = intact
        damaged[1024 * 10 + 1023] ^= 1
        try database.write(damaged)
        let connection = try database.open()
        for isSizeKnown in [false, true] {
            if isSizeKnown { _ = try connection.value("SELECT count(*) FROM sqlite_schema") }
            for offset in stride(from: 0, to: intact.count - 3000, by: 97) {
                for count in [1, 200, 512, 1016, 1024, 3000] {
                    let isRead = offset + count <= 1024 * 10 || offset >= 1024 * 11
                    if isRead {
                        let bytes = try connection.readFile(count, at: offset)
                        #expect(bytes == Array(intact[offset..<offset + count]))
                    } else {
                        #expect(throws: ChecksumConnection.Failure(code: damagedData)) {
                            try connection.readFile(count, at: offset)
                        }
                    }
                }
            }
        }
    }

    @Test func onlyPagesAreWritten() throws {
        let database = try ChecksumDatabase()
        let expected = try database.make(pageSize: 1024, rows: 20, bodyBytes: 5000)
        do {
            let connection = try database.open()
            _ = try connection.content()
            for (count, offset) in [(1000, 1024), (512, 2048), (2048, 4096), (1024, 512), (1024, 0), (0, 0), (1, 0)] {
                #expect(throws: ChecksumConnection.Failure(code: refusedWrite), "\(count) bytes at \(offset)") {
                    try connection.writeFile([UInt8](repeating: 1, count: count), at: offset)
                }
            }
        }
        #expect(try database.outcome().get() == expected)
    }

    @Test func theRefusedPageIsNamed() throws {
        let database = try ChecksumDatabase()
        _ = try database.make(pageSize: 4096, rows: 50, bodyBytes: 9000)
        var bytes = try database.bytes()
        bytes[4096 * 30 + 17] ^= 4
        try database.write(bytes)
        let connection = try database.open()
        #expect(connection.refusal.reason == ATTUNE_PAGE_NOT_REFUSED)
        #expect(throws: ChecksumConnection.Failure(code: damagedData)) { try connection.content() }
        #expect(connection.refusal.page == 31 && connection.refusal.reason == ATTUNE_PAGE_DAMAGED)
    }

    @Test func registersFromManyThreads() {
        DispatchQueue.concurrentPerform(iterations: 64) { _ in
            #expect(attune_page_checksums_register() == SQLITE_OK)
            let isFound = unsafe sqlite3_vfs_find(ATTUNE_PAGE_CHECKSUMS_VFS) != nil
            #expect(isFound)
        }
    }
}
