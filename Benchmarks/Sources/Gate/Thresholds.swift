import Foundation

/// `gate.json`: what every hot case may take.
struct Thresholds: Codable {
    var instructionSet: String
    /// What the counts were taken with; another compiler counts otherwise.
    var compiler: String
    /// How much more instructions than stored pass: 0.03 are 3 %. Allocations must not be more at all.
    var allowedIncrease: Double
    var cases: [String: Cost]

    init(_ costs: Costs, compiler: String) {
        instructionSet = costs.instructionSet
        self.compiler = compiler
        allowedIncrease = 0.03
        cases = Dictionary(uniqueKeysWithValues: costs.cases.map { ($0.name, $0.cost) })
    }

    static func read(_ path: String) throws -> Thresholds {
        try JSONDecoder().decode(Thresholds.self, from: Data(Measurement.text(path).utf8))
    }

    func write(_ path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try (encoder.encode(self) + Data("\n".utf8)).write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// Prints the table of a comparison; says whether everything passes.
    func passes(_ costs: Costs, compiler present: String) -> Bool {
        guard costs.instructionSet == instructionSet else {
            print("gate: the kernels ran as \(costs.instructionSet); the stored counts are \(instructionSet)'s.")
            return false
        }
        var rows = [["case", "instructions", "stored", "change", "allocations", "stored", ""]]
        var (failures, better) = (0, 0)
        for (name, cost) in costs.cases {
            var row = [name, "\(cost.instructions)", "-", "-", number(cost.allocations), "-", "NOT STORED"]
            if let stored = cases[name] {
                let change = Double(cost.instructions) / Double(stored.instructions) - 1
                var faults: [String] = []
                if change > allowedIncrease { faults.append("MORE INSTRUCTIONS") }
                if cost.allocations > stored.allocations { faults.append("MORE ALLOCATIONS") }
                failures += faults.isEmpty ? 0 : 1
                let isBetter = change < -allowedIncrease || cost.allocations < stored.allocations
                better += isBetter ? 1 : 0
                row = [
                    name, "\(cost.instructions)", "\(stored.instructions)", percent(change), number(cost.allocations),
                    number(stored.allocations),
                    faults.isEmpty ? (isBetter ? "better" : "ok") : faults.joined(separator: ", "),
                ]
            } else {
                failures += 1
            }
            rows.append(row)
        }
        for name in cases.keys.sorted() where !costs.cases.contains(where: { $0.name == name }) {
            rows.append([name, "-", "\(cases[name]?.instructions ?? 0)", "-", "-", "-", "NOT MEASURED"])
            failures += 1
        }
        print(Self.aligned(rows))
        if failures > 0 {
            print(
                "gate: \(failures) of \(rows.count - 1) cases take more than stored (\(percent(allowedIncrease)) pass)."
            )
            if present != compiler { print("gate: counted with \(present), but stored with \(compiler).") }
            print("gate: if that is wanted, 'scripts/gate --update' stores these counts; say why in the commit.")
        } else if better > 0 {
            print("gate: passed; \(better) cases take less than stored: 'scripts/gate --update' keeps what was won.")
        } else {
            print("gate: passed.")
        }
        return failures == 0
    }

    private func number(_ value: Double) -> String {
        value == value.rounded() ? "\(Int(value))" : String(format: "%.3f", value)
    }

    private func percent(_ value: Double) -> String { String(format: "%+.2f %%", 100 * value) }

    /// Per call: names at the left, numbers at the right.
    private static func aligned(_ rows: [[String]]) -> String {
        let widths = rows[0].indices.map { c in rows.map { $0[c].count }.max() ?? 0 }
        return rows.map { row in
            let cells = row.enumerated().map { c, cell in
                let space = String(repeating: " ", count: widths[c] - cell.count)
                return c == 0 ? cell + space : c == row.count - 1 ? cell : space + cell
            }
            return "  " + cells.joined(separator: "  ")
        }.joined(separator: "\n")
    }
}
