internal import CSQLite
internal import LearningRecords
internal import Reasoning

/// A query for rows as SQL. Only names of columns that the kind has stand in its text; what the application gave is bound.
struct TrainingStatement: Sendable {
    private(set) var sql: String
    private(set) var values: [Value]
    private let types: [String: TrainingColumnType]

    init(_ query: TrainingQuery, _ project: Int64) throws(RecordError) {
        let columns = query.kind.columns.map { "\"\($0.name)\"" }.joined(separator: ", ")
        try self.init(query, columns, project)
        sql += " ORDER BY its_ref"
        if let limit = query.limit { add(" LIMIT ?", .integer(Int64(max(0, limit)))) }
    }

    /// Inputs that calls have in common, with the outputs that were scored best and worst.
    init(preferences query: TrainingQuery, _ project: Int64) throws(RecordError) {
        try self.init(query, "its_ref, input_params, output", project)
        sql = """
            WITH calls AS (\(sql)),
            scored AS (
                SELECT its_ref, input_params, output,
                    avg(CASE scores.name WHEN 'rating' THEN (scores.value - 3) / 2 ELSE scores.value END) AS reward
                FROM calls JOIN scores ON scores.span = its_ref
                WHERE scores.name IN ('rating', 'thumbs', 'reward') AND input_params IS NOT NULL AND output IS NOT NULL
                GROUP BY its_ref)
            SELECT input_params, best, worst FROM (
                SELECT input_params, min(its_ref) OVER same AS first,
                    first_value(output) OVER (PARTITION BY input_params ORDER BY reward DESC, its_ref) AS best,
                    first_value(output) OVER (PARTITION BY input_params ORDER BY reward, its_ref DESC) AS worst,
                    max(reward) OVER same - min(reward) OVER same AS difference,
                    row_number() OVER (PARTITION BY input_params ORDER BY its_ref) AS place
                FROM scored WINDOW same AS (PARTITION BY input_params))
            WHERE place = 1 AND difference > 0 AND best <> worst ORDER BY first
            """
    }

    private init(_ query: TrainingQuery, _ columns: String, _ project: Int64) throws(RecordError) {
        try query.filter?.check(query.kind)
        types = Dictionary(query.kind.columns.map { ($0.name, $0.type) }) { first, _ in first }
        sql = """
            SELECT \(columns) FROM (SELECT \(query.kind.selected()), \(query.kind.exported) \(query.kind.keys) FROM \(query.kind.source))
            WHERE +its_project = ?
            """
        values = [.integer(project)]
        if let from = query.from { add(" AND its_moment >= ?", .moment(from)) }
        if let until = query.until { add(" AND its_moment < ?", .moment(until)) }
        if let filter = query.filter {
            sql += " AND "
            add(filter)
        }
    }

    private mutating func add(_ text: String, _ value: Value) {
        sql += text
        values.append(value)
    }

    private mutating func add(_ filter: RecordFilter) {
        switch filter {
        case .compare(let name, let comparison, let value):
            let type = types[name]
            switch comparison {
            case .contains: add("instr(\"\(name)\", ?) > 0", Self.bound(value))
            case .notEqual: add("\"\(name)\" <> ?", Self.bound(value, type))
            case .equal, .less, .lessOrEqual, .greater, .greaterOrEqual:
                add("\"\(name)\" \(comparison.rawValue) ?", Self.bound(value, type))
            }
        case .isNull(let name): sql += "\"\(name)\" IS NULL"
        case .all(let filters): add(filters, " AND ", none: "1")
        case .any(let filters): add(filters, " OR ", none: "0")
        case .not(let filter):
            sql += "NOT ("
            add(filter)
            sql += ")"
        }
    }

    private mutating func add(_ filters: [RecordFilter], _ word: String, none: String) {
        if filters.isEmpty { sql += none }
        for (place, filter) in filters.enumerated() {
            sql += place == 0 ? "(" : word
            add(filter)
        }
        if !filters.isEmpty { sql += ")" }
    }

    /// The value; moments in the form that rows have, whatever form they were given in.
    private static func bound(_ value: TrainingValue, _ type: TrainingColumnType?) -> Value {
        if type == .timestamp, case .text(let text) = value, let moment = Timestamp(utc: text) {
            return .string(moment.rowText)
        }
        return bound(value)
    }

    private static func bound(_ value: TrainingValue) -> Value {
        switch value {
        case .null: .null
        case .integer(let number): .integer(number)
        case .real(let number): .real(number)
        case .boolean(let flag): .integer(flag ? 1 : 0)
        case .text(let text), .json(let text): .string(text)
        }
    }
}

extension Connection {
    /// Gives the rows of a statement one after the other.
    func rows(
        _ statement: TrainingStatement, _ columns: [TrainingColumn], _ body: ([TrainingValue]) throws -> Void
    ) throws {
        let types = columns.map(\.type)
        var problem: (any Error)?
        do throws(StorageError) {
            try runOnce(statement.sql, statement.values) { row throws(StorageError) in
                var values: [TrainingValue] = []
                values.reserveCapacity(types.count)
                for (place, type) in types.enumerated() { values.append(row.value(Int32(place), type)) }
                do { try body(values) } catch {
                    problem = error
                    throw StorageError(.inputOutput, "rows", "the rows were not wanted any more", path: path)
                }
            }
        } catch {
            throw problem ?? error
        }
    }
}

extension Row {
    /// A column's value as one of a type.
    fileprivate func value(_ column: Int32, _ type: TrainingColumnType) -> TrainingValue {
        if isNull(column) { return .null }
        return switch type {
        case .text, .timestamp: .text(text(column))
        case .json: .json(text(column))
        case .integer: .integer(integer(column))
        case .real: .real(real(column))
        case .boolean: .boolean(integer(column) != 0)
        }
    }
}
