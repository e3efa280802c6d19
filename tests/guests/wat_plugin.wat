;; A plugin of the contract, ABI version 1, by hand: no imports, no start function, data segments
;; for what it says of itself.
;;
;; Tools (the first "tool_name" in the request decides; requests are not parsed any further):
;;   echo         data is the request's JSON text as it stands
;;   version      data is "v1"
;;   credentials  data is what configure was given last, as it stands; "" before
;;   overlap      the reply is the request's own memory: a result that overlaps the input buffer,
;;                and no {"data": ..}, so the host sees JSON without data
;;   plain        the reply is the text "plain text", no JSON, in static memory below the heap
;;   crash        traps
;; Any other: {"data": "unknown tool", "is_error": true}.
;;
;; configure refuses an object with a "refuse" in it, and one above 4,096 bytes.
;;
;; Variants, by replacing text before it is compiled:
;;   v1 -> v2                                another version: metadata and the tool `version` say so
;;   \"abi_version\":1 -> \"abi_version\":2  a contract that the host does not know
;;   (export "healthy") -> nothing           an export is missing; likewise each of the others
;;   ;;start -> (start $trap)                cannot be instantiated
;;
;; The allocator bumps. The block given out last is taken back alone, all when none is left out.
(module
  (memory (export "memory") 2)

  ;; 0-4095 static text, 4096-8191 the credentials, 8192 and up the heap
  (data (i32.const 16) "wat_plugin")
  (data (i32.const 64)
    "{\"name\":\"wat_plugin\",\"version\":\"v1\",\"abi_version\":1,\"description\":\"by hand\",\"capabilities\":[]}")
  (data (i32.const 512)
    "[{\"name\":\"echo\",\"description\":\"the request\",\"parameters\":{\"message\":\"anything\"}},"
    "{\"name\":\"version\",\"description\":\"v1 or another\",\"parameters\":{}},"
    "{\"name\":\"credentials\",\"description\":\"what was configured\",\"parameters\":{}},"
    "{\"name\":\"overlap\",\"description\":\"the request's memory\",\"parameters\":{}},"
    "{\"name\":\"plain\",\"description\":\"text, not JSON\",\"parameters\":{}},"
    "{\"name\":\"crash\",\"description\":\"traps\",\"parameters\":{}}]")
  (data (i32.const 1536) "{\"echo\":[\"message\"]}")
  (data (i32.const 1600) "v1")
  (data (i32.const 1616) "plain text")
  (data (i32.const 1632) "refused")
  (data (i32.const 1648) "{\"data\":\"unknown tool\",\"is_error\":true}")
  (data (i32.const 1712) "{\"data\":\"")
  (data (i32.const 1728) "\"}")
  (data (i32.const 1744) "\"tool_name\"")
  (data (i32.const 1760) "\"refuse\"")
  (data (i32.const 1776) "\"echo\"")
  (data (i32.const 1792) "\"version\"")
  (data (i32.const 1808) "\"credentials\"")
  (data (i32.const 1824) "\"overlap\"")
  (data (i32.const 1840) "\"plain\"")
  (data (i32.const 1856) "\"crash\"")

  (global $top (mut i32) (i32.const 8192))
  (global $last (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))
  (global $credentials_size (mut i32) (i32.const 0))

  (func $trap unreachable)
  ;;start

  ;; ---- memory

  (func $malloc (export "malloc") (param $size i32) (result i32)
    (local $end i32) (local $missing i32)
    (if (i32.lt_s (local.get $size) (i32.const 0)) (then (return (i32.const 0))))
    (local.set $end (i32.and (i32.add (i32.add (global.get $top) (local.get $size)) (i32.const 15))
                             (i32.const -8)))
    (local.set $missing (i32.sub (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16))
                                 (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0)) (then
      (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (return (i32.const 0))))))
    (global.set $last (global.get $top))
    (global.set $top (local.get $end))
    (global.set $out (i32.add (global.get $out) (i32.const 1)))
    (global.get $last))

  (func (export "free") (param $ptr i32)
    (if (i32.lt_u (local.get $ptr) (i32.const 8192)) (then (return))) ;; static text
    (global.set $out (i32.sub (global.get $out) (i32.const 1)))
    (if (i32.eq (local.get $ptr) (global.get $last)) (then
      (global.set $top (local.get $ptr))
      (global.set $last (i32.const 0))))
    (if (i32.eqz (global.get $out)) (then (global.set $top (i32.const 8192)))))

  (func $pack (param $ptr i32) (param $size i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
            (i64.extend_i32_u (local.get $size))))

  (func $ptr (param $packed i64) (result i32)
    (i32.wrap_i64 (i64.shr_u (local.get $packed) (i64.const 32))))

  ;; A block for a reply; without memory for it there is nothing to say, so it traps.
  (func $room (param $size i32) (result i32)
    (local $ptr i32)
    (if (i32.eqz (local.tee $ptr (call $malloc (local.get $size)))) (then (unreachable)))
    (local.get $ptr))

  (func $copy (param $ptr i32) (param $size i32) (result i64)
    (local $to i32)
    (local.set $to (call $room (local.get $size)))
    (memory.copy (local.get $to) (local.get $ptr) (local.get $size))
    (call $pack (local.get $to) (local.get $size)))

  ;; ---- text

  (func $same (param $a i32) (param $b i32) (param $size i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $size)) (then (return (i32.const 1))))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (br_if $next (i32.eq (i32.load8_u (i32.add (local.get $a) (local.get $size)))
                           (i32.load8_u (i32.add (local.get $b) (local.get $size))))))
    (i32.const 0))

  ;; Where the needle begins in the text, or 0.
  (func $find (param $text i32) (param $size i32) (param $needle i32) (param $length i32) (result i32)
    (loop $next
      (if (i32.lt_u (local.get $size) (local.get $length)) (then (return (i32.const 0))))
      (if (call $same (local.get $text) (local.get $needle) (local.get $length))
        (then (return (local.get $text))))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; {"data": text} in fresh memory. Each byte may need a backslash, hence twice the size. The text
  ;; is JSON or a static one, so the only control characters in it are white space: they become spaces.
  (func $data (param $text i32) (param $size i32) (result i64)
    (local $start i32) (local $to i32) (local $byte i32)
    (local.set $start (call $room (i32.add (i32.shl (local.get $size) (i32.const 1)) (i32.const 11))))
    (memory.copy (local.get $start) (i32.const 1712) (i32.const 9))
    (local.set $to (i32.add (local.get $start) (i32.const 9)))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $size)))
      (local.set $byte (i32.load8_u (local.get $text)))
      (if (i32.lt_u (local.get $byte) (i32.const 32)) (then (local.set $byte (i32.const 32))))
      (if (i32.or (i32.eq (local.get $byte) (i32.const 34)) (i32.eq (local.get $byte) (i32.const 92)))
        (then
          (i32.store8 (local.get $to) (i32.const 92))
          (local.set $to (i32.add (local.get $to) (i32.const 1)))))
      (i32.store8 (local.get $to) (local.get $byte))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (local.set $text (i32.add (local.get $text) (i32.const 1)))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (br $next)))
    (memory.copy (local.get $to) (i32.const 1728) (i32.const 2))
    (call $pack (local.get $start)
                (i32.sub (i32.add (local.get $to) (i32.const 2)) (local.get $start))))

  ;; ---- the contract

  (func (export "name") (result i64) (call $copy (i32.const 16) (i32.const 10)))
  (func (export "metadata") (result i64) (call $copy (i32.const 64) (i32.const 94)))
  (func (export "tools") (result i64) (call $copy (i32.const 512) (i32.const 412)))
  (func (export "compact_specs") (result i64) (call $copy (i32.const 1536) (i32.const 20)))
  (func (export "healthy") (result i32) (i32.const 1))

  (func (export "configure") (param $payload i64) (result i64)
    (local $size i32)
    (local.set $size (i32.wrap_i64 (local.get $payload)))
    (if (i32.or
          (i32.gt_u (local.get $size) (i32.const 4096))
          (call $find (call $ptr (local.get $payload)) (local.get $size) (i32.const 1760) (i32.const 8)))
      (then (return (call $copy (i32.const 1632) (i32.const 7)))))
    (memory.copy (i32.const 4096) (call $ptr (local.get $payload)) (local.get $size))
    (global.set $credentials_size (local.get $size))
    (i64.const 0))

  (func (export "execute") (param $payload i64) (result i64)
    (local $ptr i32) (local $size i32) (local $at i32)
    (local.set $ptr (call $ptr (local.get $payload)))
    (local.set $size (i32.wrap_i64 (local.get $payload)))
    (local.set $at (call $find (local.get $ptr) (local.get $size) (i32.const 1744) (i32.const 11)))
    (if (local.get $at) (then
      (local.set $at (i32.add (local.get $at) (i32.const 11)))
      (block $quote (loop $next ;; over the colon and white space
        (br_if $quote (i32.ge_u (local.get $at) (i32.add (local.get $ptr) (local.get $size))))
        (br_if $quote (i32.eq (i32.load8_u (local.get $at)) (i32.const 34)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
      (if (call $same (local.get $at) (i32.const 1776) (i32.const 6))
        (then (return (call $data (local.get $ptr) (local.get $size)))))
      (if (call $same (local.get $at) (i32.const 1792) (i32.const 9))
        (then (return (call $data (i32.const 1600) (i32.const 2)))))
      (if (call $same (local.get $at) (i32.const 1808) (i32.const 13))
        (then (return (call $data (i32.const 4096) (global.get $credentials_size)))))
      (if (call $same (local.get $at) (i32.const 1824) (i32.const 9))
        (then (return (local.get $payload))))
      (if (call $same (local.get $at) (i32.const 1840) (i32.const 7))
        (then (return (call $pack (i32.const 1616) (i32.const 10)))))
      (if (call $same (local.get $at) (i32.const 1856) (i32.const 7))
        (then (unreachable)))))
    (call $copy (i32.const 1648) (i32.const 39))))
