internal import Personalization

/// One row of `interactions.csv` or `queries.csv`: a user met an item.
public struct Interaction: Sendable, Hashable {
    /// The user's position in ``DataFolder/userIDs``.
    public var user: Int
    /// The item's position in ``DataFolder/itemIDs``, which is also its row in the embeddings.
    public var item: Int
    /// The rating, or nil when the file has no such column; then every row is a like.
    public var rating: Float?
    /// The time, in the file's unit (MovieLens: seconds since 1970). Only the order matters.
    public var timestamp: Double
    /// The row of ``DataFolder/queries`` from which the user came to the item; nil in `interactions.csv`.
    public var queryRow: Int?

    /// An interaction.
    public init(user: Int, item: Int, rating: Float?, timestamp: Double, queryRow: Int? = nil) {
        self.user = user
        self.item = item
        self.rating = rating
        self.timestamp = timestamp
        self.queryRow = queryRow
    }

    /// Whether the user liked the item: a rating of at least 4, or no rating at all.
    public var isLike: Bool { rating.map { $0 >= 4 } ?? true }
}

/// `items.csv`: the ids, the texts, and the way back from an id to its row.
struct ItemsFile {
    static let name = "items.csv"
    var ids: [String] = []
    var texts: [String] = []
    var rows: [UserKey: Int] = [:]

    init(bytes: [UInt8], limits: DataLimits) throws(DataError) {
        var reader = CSVReader(bytes: bytes, limits: limits)
        let header = try CSVHeader(from: &reader, file: Self.name)
        let idColumn = try header.required("item_id", file: Self.name)
        let textColumn = try header.column("text", file: Self.name, isRequired: false)
        var bad = BadRows()
        reading: while true {
            switch reader.next() {
            case .end: break reading
            case .fault(let fault): bad.add(fault, file: Self.name, line: reader.line, header: header.names)
            case .row:
                guard reader.fields.count == header.names.count else {
                    bad.add(.fieldCount(reader, header, Self.name))
                    continue
                }
                let id = reader.text(idColumn)
                guard !id.isEmpty else {
                    bad.add(.field(.emptyIdentifier, reader, idColumn, header, Self.name, "the item id is empty"))
                    continue
                }
                let key = UserKey(id)
                guard rows[key] == nil else {
                    bad.add(.field(.duplicateItem, reader, idColumn, header, Self.name, "the item id occurs twice"))
                    continue
                }
                guard ids.count < limits.items else {
                    throw DataError(
                        .limitExceeded, file: Self.name, line: reader.line, "more than \(limits.items) items")
                }
                rows[key] = ids.count
                ids.append(id)
                texts.append(textColumn.map { [reader] in reader.text($0) } ?? "")
            }
        }
        try bad.check()
    }
}

/// `interactions.csv`, or `queries.csv`, against the items and queries it may name.
struct InteractionsFile {
    /// The longest user id in bytes: what an engine takes.
    private static let longestUserID = 1024
    static let name = "interactions.csv"
    static let queriesName = "queries.csv"
    var userIDs: [String] = []
    /// In order of time; equal times keep the order of the file.
    var interactions: [Interaction] = []

    /// - Parameter queries: The number of queries, when it is `queries.csv`, which has no ratings.
    init(bytes: [UInt8], items: [UserKey: Int], limits: DataLimits, queries: Int? = nil) throws(DataError) {
        let file = queries == nil ? Self.name : Self.queriesName
        var reader = CSVReader(bytes: bytes, limits: limits)
        let header = try CSVHeader(from: &reader, file: file)
        let userColumn = try header.required("user_id", file: file)
        let itemColumn = try header.required("item_id", file: file)
        let timeColumn = try header.required("timestamp", file: file)
        let ratingColumn = queries == nil ? try header.column("rating", file: file, isRequired: false) : nil
        let queryColumn = queries == nil ? nil : try header.required("query_row", file: file)
        var users: [UserKey: Int] = [:]
        var previous: (field: CSVReader.Field, user: Int)?
        var bad = BadRows()
        reading: while true {
            switch reader.next() {
            case .end: break reading
            case .fault(let fault): bad.add(fault, file: file, line: reader.line, header: header.names)
            case .row:
                guard reader.fields.count == header.names.count else {
                    bad.add(.fieldCount(reader, header, file))
                    continue
                }
                func refuse(_ code: DataError.Code, _ column: Int, _ message: String) {
                    bad.add(.field(code, reader, column, header, file, message))
                }
                guard let timestamp = reader.number(timeColumn) else {
                    refuse(.invalidNumber, timeColumn, "the timestamp is not a finite number")
                    continue
                }
                var rating: Float?
                if let ratingColumn {
                    guard let value = reader.number(ratingColumn), Float(value).isFinite else {
                        refuse(.invalidNumber, ratingColumn, "the rating is not a finite number")
                        continue
                    }
                    rating = Float(value)
                }
                var queryRow: Int?
                if let queryColumn, let queries {
                    guard let number = reader.number(queryColumn), let row = Int(exactly: number),
                        (0..<queries).contains(row)
                    else {
                        refuse(
                            .invalidNumber, queryColumn,
                            "the query row is no whole number from 0 to \(queries - 1), the last row of the queries")
                        continue
                    }
                    queryRow = row
                }
                guard let item = items[UserKey(reader.text(itemColumn))] else {
                    refuse(.unknownItem, itemColumn, "the item is not listed in \(ItemsFile.name)")
                    continue
                }
                let user: Int
                if let previous, reader.field(userColumn, equals: previous.field) {
                    user = previous.user
                } else {
                    let id = reader.text(userColumn)
                    guard !id.isEmpty else {
                        refuse(.emptyIdentifier, userColumn, "the user id is empty")
                        continue
                    }
                    guard id.utf8.count <= Self.longestUserID else {
                        refuse(
                            .limitExceeded, userColumn,
                            "the user id has \(id.utf8.count) bytes, more than the limit of \(Self.longestUserID)")
                        continue
                    }
                    let key = UserKey(id)
                    user = users[key] ?? userIDs.count
                    if user == userIDs.count {
                        users[key] = user
                        userIDs.append(id)
                    }
                    previous = (reader.fields[userColumn], user)
                }
                guard interactions.count < limits.interactions else {
                    throw DataError(
                        .limitExceeded, file: file, line: reader.line, "more than \(limits.interactions) rows")
                }
                interactions.append(
                    Interaction(user: user, item: item, rating: rating, timestamp: timestamp, queryRow: queryRow))
            }
        }
        try bad.check()
        interactions = Self.sortedByTime(interactions)
    }

    /// Sorts by time; equal times keep their order.
    static func sortedByTime(_ rows: [Interaction]) -> [Interaction] {
        var order = Array(rows.indices)
        order.sort { (rows[$0].timestamp, $0) < (rows[$1].timestamp, $1) }
        return order.map { rows[$0] }
    }
}

extension DataError {
    fileprivate static func fieldCount(_ reader: CSVReader, _ header: CSVHeader, _ file: String) -> DataError {
        let found = reader.fields.count
        return DataError(
            .malformedRow, file: file, line: reader.line,
            column: min(found, header.names.count) + (found < header.names.count ? 0 : 1),
            "\(found) fields where the header has \(header.names.count)")
    }

    fileprivate static func field(
        _ code: Code, _ reader: CSVReader, _ column: Int, _ header: CSVHeader, _ file: String, _ message: String
    ) -> DataError {
        DataError(
            code, file: file, line: reader.line, column: column + 1, columnName: header.names[column],
            value: reader.text(column), message)
    }
}
