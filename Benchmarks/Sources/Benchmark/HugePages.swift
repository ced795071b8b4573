#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Asks for huge pages, where the system has them; it may refuse.
func adviseHugePages(_ memory: UnsafeMutableRawPointer, _ bytes: Int) {
    #if os(Linux)
        unsafe madvise(memory, bytes, Int32(MADV_HUGEPAGE))
    #endif
}
