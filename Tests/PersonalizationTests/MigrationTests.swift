import TensorCore
import Testing

@testable import LoRA
@testable import Personalization

/// Records under another rank or model: refused where nothing links the two, and measured where something does.
struct MigrationTests {
    private var generator = PhiloxGenerator(seed: 20_261_130, stream: 0, purpose: .simulation)

    private mutating func matrix(_ rows: Int, _ columns: Int) -> Matrix<Float> {
        var result = Matrix<Float>(rows: rows, columns: columns)
        result.withMutableSpan { span in for i in span.indices { span[i] = Float(generator.normal()) } }
        return result
    }

    private mutating func record(_ dimension: Int = 6, _ rank: Int = 3) throws -> StoredAdapter {
        StoredAdapter(
            user: "ada", embeddingModel: "small",
            adapter: try LoRAAdapter(
                shape: AdapterShape(dimension: dimension, rank: rank), identity: AdapterIdentity(seed: 1, stream: 2),
                down: matrix(rank, dimension), up: matrix(rank, dimension), version: 5))
    }

    @Test mutating func anotherModelOrDimensionWithoutItemsIsRefusedByName() throws {
        let record = try record()
        var error = #expect(throws: EngineError.self) { try record.migrated(embeddingModel: "large") }
        #expect(error?.code == .modelMismatch && error?.user == "ada")
        #expect(error?.message.contains("'small'") == true && error?.message.contains("'large'") == true)
        #expect(error?.message.contains("embed items again") == true)
        error = #expect(throws: EngineError.self) { try record.migrated(dimension: 8) }
        #expect(error?.code == .shapeMismatch && error?.message.contains("dimension 6, not 8") == true)
        error = #expect(throws: EngineError.self) {
            try record.migrated(rank: 2, embeddingModel: "large", dimension: 8)
        }
        #expect(error?.code == .modelMismatch)
        let alignment = try EmbeddingAlignment(old: matrix(30, 6), new: matrix(30, 8))
        error = #expect(throws: EngineError.self) { try record.migrated(alignment: alignment) }
        #expect(error?.code == .invalidConfiguration)
        error = #expect(throws: EngineError.self) {
            try record.migrated(embeddingModel: "large", dimension: 9, alignment: alignment)
        }
        #expect(error?.code == .shapeMismatch && error?.message.contains("6 to 9") == true)
        let other = try self.record(5)
        error = #expect(throws: EngineError.self) { try other.migrated(embeddingModel: "large", alignment: alignment) }
        #expect(error?.code == .shapeMismatch)
        for rank in [0, 7] {
            error = #expect(throws: EngineError.self) { try record.migrated(rank: rank) }
            #expect(error?.code == .invalidConfiguration)
        }
    }

    @Test mutating func theRankChanges() throws {
        let record = try record()
        let same = try record.migrated()
        #expect(same.record.adapter.stateHash == record.adapter.stateHash && same.rankChange == nil)
        #expect(try record.migrated(rank: 3, embeddingModel: "small", dimension: 6).record.adapter.version == 5)
        let lower = try record.migrated(rank: 2)
        #expect(lower.record.adapter.shape.rank == 2 && lower.record.adapter.version == 6 && lower.transport == nil)
        #expect(lower.record.user == "ada" && lower.record.embeddingModel == "small")
        let change = try #require(lower.rankChange)
        #expect(change.relativeError > 0 && change.adapter.stateHash == lower.record.adapter.stateHash)
    }

    @Test mutating func anotherModelWithItemsIsCarriedOver() throws {
        let record = try record()
        let (old, toLarge, toTiny) = (matrix(80, 6), matrix(6, 9), matrix(6, 2))
        let large = try BLAS.product(old.view, toLarge.view)
        let up = try record.migrated(
            rank: 8, embeddingModel: "large", alignment: EmbeddingAlignment(old: old, new: large))
        #expect(up.record.embeddingModel == "large" && up.record.adapter.version == 7)
        #expect(up.record.adapter.shape.dimension == 9 && up.record.adapter.shape.rank == 8)
        #expect(try #require(up.transport).scoreError < 1e-3)
        let tiny = try BLAS.product(old.view, toTiny.view)
        let alignment = try EmbeddingAlignment(old: old, new: tiny)
        let down = try record.migrated(rank: 1, embeddingModel: "tiny", dimension: 2, alignment: alignment)
        #expect(down.record.adapter.shape.dimension == 2 && down.record.adapter.shape.rank == 1)
        #expect(try #require(down.transport).scoreError > 0.1)
        let error = #expect(throws: EngineError.self) {
            try record.migrated(embeddingModel: "tiny", alignment: alignment)
        }
        #expect(error?.code == .invalidConfiguration && error?.message.contains("rank 3") == true)
    }
}
