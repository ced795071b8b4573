/// The first bad row of a file and the number of the others, gathered while the whole file is read.
struct BadRows {
    private(set) var first: DataError?

    mutating func add(_ error: @autoclosure () -> DataError) {
        if first == nil { first = error() } else { first?.moreBadRows += 1 }
    }

    mutating func add(_ fault: CSVReader.Fault, file: String, line: Int, header: [String]) {
        add(
            DataError(
                fault.code, file: file, line: line, column: fault.field + 1,
                columnName: fault.field < header.count ? header[fault.field] : nil, fault.message))
    }

    /// Throws the first bad row, if any.
    func check() throws(DataError) {
        if let first { throw first }
    }
}

/// A header's columns: where each wanted one is.
struct CSVHeader {
    let names: [String]

    /// Reads the header row.
    init(from reader: inout CSVReader, file: String) throws(DataError) {
        switch reader.next() {
        case .end: throw DataError(.missingColumn, file: file, line: 1, "the file is empty; a header row is needed")
        case .fault(let fault):
            throw DataError(fault.code, file: file, line: reader.line, column: fault.field + 1, fault.message)
        case .row: names = reader.fields.indices.map { [reader] in reader.text($0) }
        }
    }

    /// The position of a column, nil when an optional one is absent.
    func column(_ name: String, file: String, isRequired: Bool = true) throws(DataError) -> Int? {
        let places = names.indices.filter { names[$0] == name }
        if places.count > 1 {
            throw DataError(
                .missingColumn, file: file, line: 1, column: places[1] + 1, columnName: name,
                "the column is named twice")
        }
        if places.isEmpty, isRequired {
            throw DataError(
                .missingColumn, file: file, line: 1, columnName: name, "the header has no column \"\(name)\"")
        }
        return places.first
    }

    func required(_ name: String, file: String) throws(DataError) -> Int {
        guard let place = try column(name, file: file) else {
            throw DataError(
                .missingColumn, file: file, line: 1, columnName: name, "the header has no column \"\(name)\"")
        }
        return place
    }
}
