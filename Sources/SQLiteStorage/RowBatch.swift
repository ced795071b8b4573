internal import CSQLite

/// Rows for one `INSERT`, their texts one behind the other in one buffer: a row costs no allocation, and SQLite no copy.
///
/// A statement of many rows opens the table and its indexes once, which for a table with eight of them is a third of the time of
/// single ones.
struct RowBatch {
    enum Cell {
        case null
        case integer(Int64)
        case real(Double)
        case text(start: Int, count: Int)
    }

    private(set) var cells: [Cell] = []
    private(set) var bytes: [UInt8] = []

    mutating func removeAll() {
        cells.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }

    mutating func add(_ number: Int64?) { cells.append(number.map { .integer($0) } ?? .null) }
    mutating func add(_ number: Double?) { cells.append(number.map { .real($0) } ?? .null) }

    mutating func add(_ text: String?) {
        guard let text else { return cells.append(.null) }
        add { $0.append(contentsOf: text.utf8) }
    }

    /// A text that `write` appends to the buffer.
    mutating func add(_ write: (inout [UInt8]) -> Void) {
        let start = bytes.count
        write(&bytes)
        cells.append(.text(start: start, count: bytes.count - start))
    }
}

/// Where rows of a batch go.
struct BatchInsert {
    /// The table and its columns, as in `INSERT INTO`: of the source alone.
    let into: StaticString
    let columns: Int

    /// The statement for some rows. One that contradicts a constraint leaves those before it.
    func sql(rows: Int) -> String {
        let row = "(" + repeatElement("?", count: columns).joined(separator: ",") + ")"
        return "INSERT OR FAIL INTO \(into) VALUES " + repeatElement(row, count: rows).joined(separator: ",")
    }
}

extension Connection {
    /// The most rows of one statement; those of smaller ones are 1, so that few are kept prepared.
    static let rowsOfStatement = 64

    /// Inserts the rows of a batch, in order, until one contradicts a constraint.
    ///
    /// - Returns: How many were inserted.
    func insert(_ batch: RowBatch, _ insert: BatchInsert) throws(StorageError) -> Int {
        let count = batch.cells.count / insert.columns
        var done = 0
        while done < count {
            let rows = count - done >= Self.rowsOfStatement ? Self.rowsOfStatement : 1
            let statement = try statement(insert, rows: rows)
            let first = done * insert.columns
            let status = statement.run(batch.cells[first..<first + rows * insert.columns], batch.bytes)
            // The extended codes of one constraint or another.
            if status & 0xFF == SQLITE_CONSTRAINT { return done + (rows == 1 ? 0 : changes) }
            guard status == SQLITE_DONE else { throw failure("insert", status) }
            done += rows
        }
        return done
    }
}

extension Statement {
    /// Binds cells to the parameters, runs to the end, and lets go of them again.
    fileprivate func run(_ cells: ArraySlice<RowBatch.Cell>, _ bytes: [UInt8]) -> Int32 {
        unsafe bytes.withUnsafeBytes { buffer in
            defer {
                reset()
                unsafe sqlite3_clear_bindings(pointer)
            }
            var place: Int32 = 0
            for cell in cells {
                place += 1
                let status: Int32
                switch cell {
                // Nothing is bound where nothing was.
                case .null: continue
                case .integer(let number): status = unsafe sqlite3_bind_int64(pointer, place, number)
                case .real(let number): status = unsafe sqlite3_bind_double(pointer, place, number)
                case .text(let start, let count):
                    // The buffer is there until after the last step: SQLite need not copy. Nothing at no place would be NULL.
                    let text = unsafe buffer.baseAddress?.advanced(by: start) ?? UnsafeRawPointer(pointer)
                    status = unsafe sqlite3_bind_text64(
                        pointer, place, text.assumingMemoryBound(to: CChar.self), UInt64(count), nil, UInt8(SQLITE_UTF8)
                    )
                }
                if status != SQLITE_OK { return status }
            }
            return step()
        }
    }
}
