import TensorCore
import Testing

@Suite struct BLASConfigurationTests {
    private static let library = "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64"

    private func mismatch(
        _ core: String, _ instructions: Kernels.InstructionSet, chosen: String? = nil, library: String = library
    ) -> BLASConfiguration.Mismatch? {
        BLASConfiguration(library: library, core: core, chosenCore: chosen, threads: 1).mismatch(with: instructions)
    }

    @Test(arguments: ["Haswell", "Zen", "Sandybridge", "Nehalem", "Barcelona", "Prescott", "Core2", "haswell"])
    func aCoreWithoutAVX512FallsBehindKernelsWithIt(_ core: String) {
        #expect(mismatch(core, .avx512)?.fitting == "SkylakeX")
    }

    @Test func aCoreWithoutAVX2FallsBehindKernelsWithIt() {
        #expect(mismatch("Sandybridge", .avx2)?.fitting == "Haswell")
        #expect(mismatch("Zen", .avx2) == nil)
    }

    @Test(arguments: ["SkylakeX", "Cooperlake", "SapphireRapids", "ARMV8", "a core of the future", ""])
    func aCoreThatFitsOrIsUnknownIsNoMismatch(_ core: String) {
        for instructions in Kernels.InstructionSet.allCases { #expect(mismatch(core, instructions) == nil) }
    }

    @Test func nothingFallsBehindPortableKernels() { #expect(mismatch("Prescott", .portable) == nil) }

    @Test func theCauseIsTheEnvironmentTheLibraryOrItsBuild() {
        #expect(mismatch("Haswell", .avx512, chosen: "Haswell")?.cause == .environment("Haswell"))
        #expect(mismatch("Haswell", .avx512)?.cause == .library)
        #expect(mismatch("Haswell", .avx512, chosen: "")?.cause == .library)
        let single = "OpenBLAS 0.3.21 NO_AFFINITY HASWELL"
        #expect(mismatch("Haswell", .avx512, chosen: "SkylakeX", library: single)?.cause == .build)
    }

    @Test func theProcesssOwnConfigurationHasOneThread() {
        let configuration = BLASConfiguration.current
        #expect(configuration.threads == 1 && configuration.library.contains("OpenBLAS") && !configuration.core.isEmpty)
    }
}
