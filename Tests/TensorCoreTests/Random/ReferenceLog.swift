#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// libm's logarithm, to compare ours with.
func referenceLog(_ x: Double) -> Double { log(x) }
