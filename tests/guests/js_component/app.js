// A component in JavaScript: what a program does with time, random numbers and HTTP.

export const work = {
  greet(name) {
    console.log(`greeting ${name}`);
    return `hello, ${name}`;
  },

  async nap(seconds) {
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    return (performance.now() - began) / 1000;
  },

  clock() {
    return Date.now() / 1000;
  },

  random(size) {
    return crypto.getRandomValues(new Uint8Array(size));
  },

  async fetchText(url, body) {
    try {
      const reply = await fetch(url, body === undefined ? {} : { method: "POST", body });
      return `${reply.status} ${await reply.text()}`;
    } catch (error) {
      throw String(error);
    }
  },
};

export const run = {
  run() {
    console.log("it runs");
  },
};
