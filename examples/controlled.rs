//! A program whose fail points are controlled from the shell while it runs. It passes `controlled_tick`
//! five times a second, for as many seconds as its argument says.
//!
//! ```sh
//! cargo run --example controlled --features control -- 600 &
//! cargo run -p cargo-faultfs -- points /tmp/faultpoint-example list
//! cargo run -p cargo-faultfs -- points /tmp/faultpoint-example arm controlled_tick 'return(EIO)'
//! cargo run -p cargo-faultfs -- points /tmp/faultpoint-example wait controlled_tick --hits 3
//! cargo run -p cargo-faultfs -- points /tmp/faultpoint-example disarm controlled_tick
//! ```

#[cfg(all(feature = "control", unix))]
fn main() -> std::io::Result<()> {
    use std::time::{Duration, Instant};

    use faultpoint::{control, fault_point};

    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(60);
    let server = control::serve(std::env::temp_dir().join("faultpoint-example"))?;
    println!("controlled over {}", server.socket().display());
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let tick: std::io::Result<()> = fault_point!("controlled_tick");
        if let Err(error) = tick {
            println!("tick: {error}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

#[cfg(not(all(feature = "control", unix)))]
fn main() {
    println!("not controlled: the feature `control` is off");
}
