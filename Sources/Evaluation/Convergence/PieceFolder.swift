import TensorCore

/// What a trial did for the donors, as it is kept.
struct DonorPiece: Sendable {
    /// For each popularity weight the scores; or why the adapters could not bear the settings.
    let result: Result<[DonorScores], TrialFailure>
    /// The time that it took.
    let duration: Duration
}

/// What a chosen method did for the evaluated users, as it is kept.
struct UserPiece: Sendable {
    let table: EventTable
    /// The time that it took, training of donors' adapters excluded.
    let duration: Duration
    /// The time spent in learning, summed over the tasks.
    let learning: Duration
    /// How often something was learned.
    let lessons: Int
    let bytesPerAdapter: Int?
}

/// The finished pieces of a benchmark, each in a small file of its own, so that a run that was killed goes on where it was.
///
/// A file is named by a hash of everything that its piece depends on, holds that in words, and ends with a checksum of the
/// whole. It appears whole or not at all. One that is damaged, or says that it is of something else, is told and computed
/// again.
struct PieceFolder: Sendable {
    private static let magic = Array("attune-piece".utf8)
    private static let formatVersion: UInt32 = 1
    /// The most bytes of a file that are read.
    private static let largestFile = 1 << 30

    /// Holds the lock.
    let folder: ConvergenceFolder
    /// What every piece depends on, in words.
    let context: String
    /// Told in a sentence of each file that cannot be used.
    let tell: @Sendable (String) -> Void

    private var path: String { folder.pieces }

    private func file(_ key: String) -> (name: String, key: String) {
        let whole = context + "\n" + key
        let hash = Checksum.wide(Array(whole.utf8))
        func hex(_ value: UInt64) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return ("\(hex(hash.high))\(hex(hash.low)).piece", whole)
    }

    /// Writes a file whose content `body` appends.
    private func store(_ key: String, _ body: (inout ByteWriter) -> Void) throws(DataError) {
        let (name, key) = file(key)
        var writer = ByteWriter(capacity: 1 << 16)
        writer.append(bytes: Self.magic)
        writer.append(Self.formatVersion)
        writer.append(key)
        body(&writer)
        let bytes = writer.bytes
        var sum = ByteWriter(capacity: 8)
        sum.append(Checksum.of(bytes[...]))
        let end = sum.bytes
        do throws(TensorFileError) {
            try AtomicFile.write(to: "\(path)/\(name)") { file throws(TensorFileError) in
                try file.append(bytes)
                try file.append(end)
            }
        } catch {
            throw DataError(.cannotWrite, file: name, "the piece cannot be written: \(error)")
        }
    }

    /// Reads a file's content; `nil` where there is none, or none that can be used, which is told.
    private func load<Piece>(_ key: String, _ body: (inout ByteReader) -> Piece?) throws(DataError) -> Piece? {
        let (name, key) = file(key)
        var limits = DataLimits()
        limits.fileBytes = Self.largestFile
        let bytes: [UInt8]
        do throws(DataError) {
            guard let found = try FileAccess.bytes(of: name, in: path, limits: limits) else { return nil }
            bytes = found
        } catch {
            tell("The piece \(name) cannot be read and is computed again: \(error.message)")
            return nil
        }
        guard let piece = Self.content(bytes, key: key, body) else {
            tell("The piece \(name) is damaged, or is not what its name says; it is computed again.")
            return nil
        }
        return piece
    }

    private static func content<Piece>(
        _ bytes: [UInt8], key: String, _ body: (inout ByteReader) -> Piece?
    ) -> Piece? {
        guard bytes.count > magic.count + 8 else { return nil }
        var end = ByteReader(Array(bytes.suffix(8)))
        guard let sum = end.take(UInt64.self), sum == Checksum.of(bytes.dropLast(8)) else { return nil }
        guard bytes.starts(with: magic) else { return nil }
        var reader = ByteReader(Array(bytes[magic.count..<(bytes.count - 8)]))
        guard reader.take(UInt32.self) == formatVersion, reader.takeText(limit: 1 << 20) == key,
            let piece = body(&reader), reader.remaining == 0
        else { return nil }
        return piece
    }
}

// MARK: Donors

extension PieceFolder {
    /// The scores of a trial under each popularity weight.
    func donorPiece(_ key: String, donors: Int, kappas: Int) throws(DataError) -> DonorPiece? {
        try load(key) { reader in
            guard let duration = reader.takeDuration(), let isFailure = reader.take(UInt8.self) else { return nil }
            if isFailure == 1 {
                guard let text = reader.takeText(limit: 1 << 16) else { return nil }
                return DonorPiece(result: .failure(TrialFailure(description: text)), duration: duration)
            }
            guard isFailure == 0 else { return nil }
            var scores: [DonorScores] = []
            for _ in 0..<kappas {
                guard let mean = reader.takeQuality(), let auc = reader.takeNumbers(donors),
                    let ndcg10 = reader.takeNumbers(donors)
                else { return nil }
                scores.append(DonorScores(mean: mean, auc: auc, ndcg10: ndcg10))
            }
            return DonorPiece(result: .success(scores), duration: duration)
        }
    }

    /// Keeps what a trial did.
    func store(_ piece: DonorPiece, _ key: String) throws(DataError) {
        try store(key) { writer in
            writer.append(piece.duration)
            switch piece.result {
            case .failure(let failure):
                writer.append(UInt8(1))
                writer.append(failure.description)
            case .success(let scores):
                writer.append(UInt8(0))
                for score in scores {
                    writer.append(score.mean)
                    for value in score.auc + score.ndcg10 { writer.append(value) }
                }
            }
        }
    }
}

// MARK: Evaluated users

extension PieceFolder {
    /// What a chosen method did at each event.
    ///
    /// - Parameters:
    ///   - events: Each user's number of events.
    ///   - hasRegret: Whether the truth is known.
    func userPiece(_ key: String, events: [Int], hasRegret: Bool) throws(DataError) -> UserPiece? {
        try load(key) { reader in
            guard let duration = reader.takeDuration(), let learning = reader.takeDuration(),
                let lessons = reader.take(Int64.self), lessons >= 0, let bytes = reader.take(Int64.self), bytes >= -1
            else { return nil }
            var table = EventTable(eventsPerUser: events)
            for i in table.quality.indices {
                guard let quality = reader.takeQuality() else { return nil }
                table.quality[i] = quality
            }
            if hasRegret {
                guard let regret = reader.takeNumbers(table.eventCount) else { return nil }
                table.regret = regret
            }
            return UserPiece(
                table: table, duration: duration, learning: learning, lessons: Int(lessons),
                bytesPerAdapter: bytes < 0 ? nil : Int(bytes))
        }
    }

    /// Keeps what a chosen method did.
    func store(_ piece: UserPiece, _ key: String) throws(DataError) {
        try store(key) { writer in
            writer.append(piece.duration)
            writer.append(piece.learning)
            writer.append(Int64(piece.lessons))
            writer.append(Int64(piece.bytesPerAdapter ?? -1))
            for quality in piece.table.quality { writer.append(quality) }
            for value in piece.table.regret { writer.append(value) }
        }
    }
}

extension ByteWriter {
    fileprivate mutating func append(_ duration: Duration) {
        append(duration.components.seconds)
        append(duration.components.attoseconds)
    }

    fileprivate mutating func append(_ quality: RankingQuality) {
        for value in [quality.auc, quality.reciprocalRank, quality.ndcg10, quality.hit10] { append(value) }
    }
}

extension ByteReader {
    fileprivate mutating func takeDuration() -> Duration? {
        guard let seconds = take(Int64.self), let attoseconds = take(Int64.self), seconds >= 0,
            (0..<1_000_000_000_000_000_000).contains(attoseconds)
        else { return nil }
        return Duration(secondsComponent: seconds, attosecondsComponent: attoseconds)
    }

    fileprivate mutating func takeQuality() -> RankingQuality? {
        guard let values = takeNumbers(4), values.allSatisfy({ (-1e-9...1 + 1e-9).contains($0) }) else { return nil }
        var quality = RankingQuality()
        quality.auc = values[0]
        quality.reciprocalRank = values[1]
        quality.ndcg10 = values[2]
        quality.hit10 = values[3]
        return quality
    }

    /// Finite numbers.
    fileprivate mutating func takeNumbers(_ count: Int) -> [Double]? {
        guard remaining >= 8 * count else { return nil }
        var values: [Double] = []
        values.reserveCapacity(count)
        for _ in 0..<count {
            guard let value = takeDouble(), value.isFinite else { return nil }
            values.append(value)
        }
        return values
    }
}
